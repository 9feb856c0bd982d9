//! One frame: how an item is written so that a reader can tell whether it is whole.
//!
//! ```text
//! length (u32, little-endian) | CRC-32 of the rest (u32, little-endian) | version (u8) | payload (bincode)
//! ```
//!
//! `length` counts version and payload. This is the only place that knows bincode, and the version byte names the layout of the payload:
//! a type whose fields change takes a new version, and a reader refuses those it does not know instead of guessing.

use bincode::config::{Configuration, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The layout of payloads that this program writes and reads.
pub(crate) const VERSION: u8 = 3;

/// Bytes before the version byte.
const HEADER: usize = 8;

/// The longest frame that is believed: a longer one is a length that was never written.
const LONGEST: usize = 64 << 20;

/// Little-endian, numbers as short as they go.
const LAYOUT: Configuration = standard();

/// What stands at some place of a segment.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<T> {
    /// An item, and how many bytes it takes.
    Whole(T, usize),
    /// Nothing: the segment ends here.
    End,
    /// Bytes that are no frame, or not all of one.
    Broken(&'static str),
    /// A whole frame that this program cannot read.
    Unreadable(String),
}

/// Appends `item` to `bytes` as one frame.
pub(crate) fn write<T: Serialize>(item: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEADER]);
    bytes.push(VERSION);
    let written = bincode::serde::encode_into_std_write(item, bytes, LAYOUT).map_err(|error| error.to_string());
    let length = bytes.len() - start - HEADER;
    if written.is_err() || length > LONGEST {
        bytes.truncate(start);
        return written.and(Err(format!("it takes {length} bytes, and a frame has room for {LONGEST}")));
    }
    let checksum = crc32fast::hash(&bytes[start + HEADER..]);
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[start + 4..start + HEADER].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Frame<T> {
    let body = match body(bytes) {
        Ok(Some(body)) => body,
        Ok(None) => return Frame::End,
        Err(reason) => return Frame::Broken(reason),
    };
    let (version, payload) = (body[0], &body[1..]);
    if version != VERSION {
        return Frame::Unreadable(format!("its format is version {version}, and this program reads {VERSION}"));
    }
    match bincode::serde::decode_from_slice(payload, LAYOUT) {
        Ok((item, used)) if used == payload.len() => Frame::Whole(item, HEADER + body.len()),
        Ok(_) => Frame::Unreadable("it is longer than what it holds".into()),
        Err(error) => Frame::Unreadable(error.to_string()),
    }
}

/// Whether a whole frame begins anywhere in `bytes`: if one does, whatever precedes it was once whole too.
pub(crate) fn any_whole(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| matches!(body(&bytes[at..]), Ok(Some(_))))
}

fn body(bytes: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (Some(length), Some(checksum)) = (number(bytes, 0), number(bytes, 4)) else {
        return Err("it ends within the header of an entry");
    };
    let length = length as usize;
    if length == 0 || length > LONGEST {
        return Err("no entry is that long");
    }
    let body = bytes.get(HEADER..HEADER + length).ok_or("it ends within an entry")?;
    if crc32fast::hash(body) == checksum { Ok(Some(body)) } else { Err("the checksum of an entry is wrong") }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(item: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&item, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_frame_is_as_documented() {
        // Length 4: version 3, a string's length 2, and its bytes. CRC-32 of 03 02 68 69.
        let bytes = frame("hi");
        assert_eq!(bytes[..4], [4, 0, 0, 0]);
        assert_eq!(bytes[4..8], crc32fast::hash(&[3, 2, b'h', b'i']).to_le_bytes());
        assert_eq!(bytes[8..], [3, 2, b'h', b'i']);
        assert_eq!(read::<String>(&bytes), Frame::Whole("hi".into(), 12));
    }

    #[test]
    fn a_frame_cut_anywhere_is_broken() {
        let bytes = frame("an entry");
        assert_eq!(read::<String>(&[]), Frame::End);
        for length in 1..bytes.len() {
            assert!(matches!(read::<String>(&bytes[..length]), Frame::Broken(_)), "cut to {length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_wherever_it_is() {
        let bytes = frame("an entry");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read::<String>(&flipped), Frame::Broken(_)), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let mut bytes = frame("from the future");
        bytes[8] = 9;
        let checksum = crc32fast::hash(&bytes[8..]).to_le_bytes();
        bytes[4..8].copy_from_slice(&checksum);
        let refused = Frame::Unreadable("its format is version 9, and this program reads 3".into());
        assert_eq!(read::<String>(&bytes), refused);
    }

    #[test]
    fn a_whole_frame_is_found_behind_damage() {
        assert!(any_whole(&[&[7; 5], frame("whole").as_slice()].concat()));
        assert!(!any_whole(&[0; 64]) && !any_whole(&frame("half")[..10]));
    }
}
