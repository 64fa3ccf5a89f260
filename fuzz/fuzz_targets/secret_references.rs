//! One fuzz target; what it does is `flexcore_fuzz::targets::secret_references`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    flexcore_fuzz::targets::secret_references(data);
});
