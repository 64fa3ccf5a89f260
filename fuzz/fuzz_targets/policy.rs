//! One fuzz target; what it does is `flexcore_fuzz::targets::policy`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    flexcore_fuzz::targets::policy(data);
});
