//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): the text of a note that says how many leaves a log has, and the
//! root of the Merkle tree over them. Lines beyond the third are refused: we write none, and a witness could not
//! check them. Never in here: what is signed, or by whom.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::Hash;
use super::note::{KeyName, SignedNote};

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: {0}")]
pub struct MalformedCheckpoint(&'static str);

/// How a log stood at a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: KeyName,
    /// How many events it had.
    pub size: u64,
    /// The root of the tree over their leaf hashes.
    pub root: Hash,
}

impl Checkpoint {
    /// Reads the text of a note. Its signatures are not looked at: verify the note first.
    ///
    /// # Errors
    /// When the text is of another format.
    pub fn of(note: &SignedNote) -> Result<Self, MalformedCheckpoint> {
        note.text().parse()
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
}

impl FromStr for Checkpoint {
    type Err = MalformedCheckpoint;

    fn from_str(text: &str) -> Result<Self, MalformedCheckpoint> {
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or_default().split('\n').collect();
        let [origin, size, root] = lines[..] else {
            return Err(MalformedCheckpoint("it has other than three lines"));
        };
        let origin = KeyName::new(origin).map_err(|_| MalformedCheckpoint("its origin is no name"))?;
        let number: u64 = size.parse().map_err(|_| MalformedCheckpoint("its size is no number"))?;
        if number.to_string() != size {
            return Err(MalformedCheckpoint("its size is not written as it should be"));
        }
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or(MalformedCheckpoint("its root is not the base64 of 32 bytes"))?;
        Ok(Self { origin, size: number, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    const SIGNATURE: &str = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn the_published_example_is_read_and_written() {
        let note: SignedNote = format!("{EXAMPLE}\n{SIGNATURE}").parse().unwrap();
        let checkpoint = Checkpoint::of(&note).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.to_string(), EXAMPLE);
        assert_eq!((note.signatures()[0].id, note.signatures()[0].signature.len()), (0x033d_e0ae, 64));
    }

    #[test]
    fn other_texts_are_refused() {
        for (from, to) in [
            ("20852163", "020852163"),
            ("20852163", "+20852163"),
            ("20852163", "20852163 "),
            ("20852163", ""),
            ("20852163", "99999999999999999999"),
            ("example", "exa mple"),
            ("q2I=\n", "q2I=\n\n"),
            ("q2I=\n", "q2I=\nextension\n"),
            ("q2I=\n", "q2I=\r\n"),
            ("q2I=", "q2I"),
            ("q2I=", "q2J="),
            ("CsUY", ""),
        ] {
            let text = EXAMPLE.replace(from, to);
            assert!(text.parse::<Checkpoint>().is_err(), "{text:?}");
        }
        assert!("".parse::<Checkpoint>().is_err());
    }
}
