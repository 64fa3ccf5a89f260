//! What an ELF file says of the files that it needs to run: its loader, its libraries, where it looks for them. Reads a
//! few bounded parts of the file and runs nothing. Never in here: whether those files are there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most program headers that are looked at; real programs have about a dozen.
const MAX_HEADERS: u64 = 256;
/// Most entries of the dynamic section that are looked at.
const MAX_ENTRIES: u64 = 8_192;
/// Longest name or search path.
const MAX_TEXT: usize = 8_192;

const HEADER_SIZE: u64 = 56;
const ENTRY_SIZE: u64 = 16;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What a program or library needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// The loader; absent in static programs and in libraries.
    pub loader: Option<String>,
    /// Libraries by name, or by path where the name has a `/`.
    pub needed: Vec<String>,
    /// Directories to search first, for this file and what it needs (`DT_RPATH`).
    pub rpath: Vec<String>,
    /// Directories to search for what this file needs itself (`DT_RUNPATH`); where there are some, `rpath` is none.
    pub runpath: Vec<String>,
}

/// Reads an ELF file; `None` when it is none of this machine's kind, or is damaged: the kernel has the last word then.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> io::Result<Option<Elf>> {
    let file = File::open(path)?;
    match parse(&file) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        result => result,
    }
}

fn parse(file: &File) -> io::Result<Option<Elf>> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    // 64 bits, little endian
    if head[..6] != [0x7f, b'E', b'L', b'F', 2, 1] || !cfg!(target_endian = "little") {
        return Ok(None);
    }
    let (table, size, count) = (long(&head, 32), u64::from(short(&head, 54)), u64::from(short(&head, 56)));
    if size != HEADER_SIZE || count > MAX_HEADERS {
        return Ok(None);
    }
    let (mut elf, mut segments, mut dynamic) = (Elf::default(), Vec::new(), None);
    for n in 0..count {
        let mut header = [0; 56];
        file.read_exact_at(&mut header, offset(table, n * HEADER_SIZE)?)?;
        let (place, address, length) = (long(&header, 8), long(&header, 16), long(&header, 32));
        match word(&header, 0) {
            PT_LOAD => segments.push((address, length, place)),
            PT_DYNAMIC => dynamic = Some((place, length)),
            PT_INTERP => elf.loader = Some(text_at(file, place)?),
            _ => {}
        }
    }
    if let Some((place, length)) = dynamic {
        read_dynamic(file, place, length / ENTRY_SIZE, &segments, &mut elf)?;
    }
    Ok(Some(elf))
}

fn read_dynamic(
    file: &File,
    place: u64,
    count: u64,
    segments: &[(u64, u64, u64)],
    elf: &mut Elf,
) -> io::Result<()> {
    let (mut names, mut texts) = (None, Vec::new());
    for n in 0..count.min(MAX_ENTRIES) {
        let mut entry = [0; 16];
        file.read_exact_at(&mut entry, offset(place, n * ENTRY_SIZE)?)?;
        match (long(&entry, 0), long(&entry, 8)) {
            (0, _) => break,
            (DT_STRTAB, address) => names = Some(address),
            (tag @ (DT_NEEDED | DT_RPATH | DT_RUNPATH), at) => texts.push((tag, at)),
            _ => {}
        }
    }
    // an address in memory, which a segment of the file becomes
    let found = names.and_then(|address| {
        let within = |s: &&(u64, u64, u64)| address.checked_sub(s.0).is_some_and(|into| into < s.1);
        segments.iter().find(within).map(|(start, _, place)| place.saturating_add(address - start))
    });
    let Some(names) = found else { return Ok(()) };
    for (tag, at) in texts {
        let text = text_at(file, offset(names, at)?)?;
        let directories = || text.split(':').filter(|d| !d.is_empty()).map(str::to_owned).collect();
        match tag {
            DT_RPATH => elf.rpath = directories(),
            DT_RUNPATH => elf.runpath = directories(),
            _ => elf.needed.push(text),
        }
    }
    if !elf.runpath.is_empty() {
        elf.rpath.clear();
    }
    Ok(())
}

/// The text that ends with a zero byte.
fn text_at(file: &File, place: u64) -> io::Result<String> {
    let mut text = Vec::new();
    let mut part = [0; 256];
    while text.len() < MAX_TEXT {
        let read = file.read_at(&mut part, offset(place, text.len() as u64)?)?;
        if let Some(end) = part[..read].iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&part[..end]);
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        if read == 0 {
            break;
        }
        text.extend_from_slice(&part[..read]);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn offset(base: u64, more: u64) -> io::Result<u64> {
    // no file is longer than the kernel can count
    let place = base.checked_add(more).filter(|place| i64::try_from(*place).is_ok());
    place.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_needs_a_loader_and_libraries() {
        let elf = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(elf.loader.unwrap().starts_with("/lib"));
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.so")), "{:?}", elf.needed);
    }

    #[test]
    fn what_is_no_elf_file_is_none_and_no_damage_makes_it_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let whole = std::fs::read("/bin/sh").unwrap();
        let mut damaged = Vec::new();
        for length in [0, 3, 20, 63, 64, 100, 300, 700, 2_000] {
            damaged.push(whole[..length.min(whole.len())].to_vec());
        }
        // every byte of header and program headers, wrong in two ways
        for at in 0..64 + 56 * 12 {
            for wrong in [0xff, 0x00] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                damaged.push(bytes);
            }
        }
        for bytes in damaged {
            std::fs::write(&path, &bytes).unwrap();
            drop(read(&path).unwrap());
        }
        std::fs::write(&path, "#!/bin/sh\n".repeat(20)).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
