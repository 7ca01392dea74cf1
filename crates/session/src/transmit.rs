//! Octets on their way out: commands in one small reused buffer, content by reference.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;

use zeroize::Zeroize;

use crate::content::{ChunkCursor, Content, ContentCursor, TERMINATOR};

/// The queue of what the driver has to write. Positions count octets since the session began.
#[derive(Default)]
pub(crate) struct Transmit {
    commands: Vec<u8>,
    /// Where in `commands` the first chunk of commands begins.
    start: usize,
    chunks: VecDeque<Chunk>,
    queued: u64,
    written: u64,
    /// `commands` has held a secret since it was last empty.
    secret: bool,
}

enum Chunk {
    /// So many octets of the command buffer.
    Commands(usize),
    Content(ContentCursor),
    /// A part of a content behind its BDAT.
    Part(ChunkCursor),
}

impl Transmit {
    /// Appends what `write` appends, and says where it ends.
    pub(crate) fn push_command(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let before = self.commands.len();
        write(&mut self.commands);
        let octets = self.commands.len() - before;
        if let Some(Chunk::Commands(last)) = self.chunks.back_mut() {
            *last += octets;
        } else {
            self.chunks.push_back(Chunk::Commands(octets));
        }
        self.queued += octets as u64;
        self.queued
    }

    /// The last `octets` octets of commands, which must not have been written yet.
    pub(crate) fn last_commands(&self, octets: u64) -> &[u8] {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        let start = self.commands.len().saturating_sub(octets);
        &self.commands[start..]
    }

    /// Appends octets that must not stay in memory.
    pub(crate) fn push_secret(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        self.secret = true;
        self.push_command(write)
    }

    /// Appends content with its transparency and terminator, and says where it ends.
    pub(crate) fn push_content(&mut self, content: Content) -> u64 {
        if content.is_clean() {
            let octets = content.len();
            self.push_part(content, 0..octets);
            // In one slice with the commands behind it.
            return self.push_command(|out| out.extend_from_slice(TERMINATOR));
        }
        self.queued += ContentCursor::wire_len(&content) as u64;
        self.chunks.push_back(Chunk::Content(ContentCursor::new(content)));
        self.queued
    }

    /// Appends octets of a content as they are, and says where they end.
    pub(crate) fn push_part(&mut self, content: Content, octets: Range<usize>) -> u64 {
        self.queued += octets.len() as u64;
        if !octets.is_empty() {
            self.chunks.push_back(Chunk::Part(ChunkCursor::new(content, octets.start, octets.end)));
        }
        self.queued
    }

    /// Fills `out` with what is to be written next and says how many slices were used.
    pub(crate) fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut start = self.start;
        for chunk in &self.chunks {
            let Some(free) = out.get_mut(used..).filter(|free| !free.is_empty()) else { break };
            match chunk {
                Chunk::Commands(octets) => {
                    free[0] = IoSlice::new(&self.commands[start..start + octets]);
                    start += octets;
                    used += 1;
                }
                Chunk::Content(cursor) => used += cursor.slices(free),
                Chunk::Part(cursor) => used += cursor.slices(free),
            }
        }
        used
    }

    /// Takes note that `octets` of what [`Self::slices`] gave have been written.
    pub(crate) fn advance(&mut self, mut octets: usize) {
        debug_assert!(octets as u64 <= self.queued - self.written, "more written than was queued");
        self.written += octets as u64;
        while let Some(chunk) = self.chunks.front_mut() {
            match chunk {
                Chunk::Commands(rest) if octets < *rest => {
                    self.start += octets;
                    *rest -= octets;
                    return;
                }
                Chunk::Commands(rest) => {
                    self.start += *rest;
                    octets -= *rest;
                }
                Chunk::Content(cursor) => {
                    octets = cursor.advance(octets);
                    if !cursor.is_done() {
                        return;
                    }
                }
                Chunk::Part(cursor) => {
                    octets = cursor.advance(octets);
                    if !cursor.is_done() {
                        return;
                    }
                }
            }
            self.chunks.pop_front();
        }
        self.recycle();
    }

    /// Forgets everything that has not been written.
    pub(crate) fn discard(&mut self) {
        self.chunks.clear();
        self.queued = self.written;
        self.recycle();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many octets have been written since the session began.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// How many octets have been queued since the session began.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// Gives back memory that is not in use. Secrets are not in there any more.
    pub(crate) fn shrink(&mut self) {
        self.chunks.shrink_to_fit();
        if self.commands.is_empty() {
            self.commands = Vec::new();
        }
    }

    fn recycle(&mut self) {
        if std::mem::take(&mut self.secret) {
            self.commands.zeroize();
        }
        self.commands.clear();
        self.start = 0;
    }
}

impl Drop for Transmit {
    /// A session may be dropped with a secret that was never written.
    fn drop(&mut self) {
        if self.secret {
            self.commands.zeroize();
        }
    }
}

impl fmt::Debug for Transmit {
    /// Shows sizes only: there may be a secret among the commands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queued, written, .. } = self;
        f.debug_struct("Transmit").field("queued", queued).field("written", written).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything queued, taken in pieces of `step` octets.
    fn drain(transmit: &mut Transmit, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !transmit.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let used = transmit.slices(&mut slices);
            let piece: Vec<u8> =
                slices[..used].iter().flat_map(|s| s.iter().copied()).take(step).collect();
            assert!(!piece.is_empty());
            transmit.advance(piece.len());
            out.extend(piece);
        }
        out
    }

    #[test]
    fn any_split_of_the_writes_gives_the_same_octets() {
        for step in 1..40 {
            let mut transmit = Transmit::default();
            transmit.push_content(Content::new(".a\r\nb\r\n").unwrap());
            transmit.push_command(|out| out.extend_from_slice(b"MAIL\r\n"));
            transmit.push_content(Content::new("c").unwrap());
            let end = transmit.push_command(|out| out.extend_from_slice(b"DATA\r\n"));
            assert_eq!(
                drain(&mut transmit, step),
                b"..a\r\nb\r\n.\r\nMAIL\r\nc\r\n.\r\nDATA\r\n",
                "step {step}"
            );
            assert_eq!(transmit.written(), end);
            transmit.push_command(|out| out.extend_from_slice(b"QUIT\r\n"));
            assert_eq!(drain(&mut transmit, step), b"QUIT\r\n");
        }
    }

    #[test]
    fn discarded_octets_are_gone() {
        let mut transmit = Transmit::default();
        transmit.push_command(|out| out.extend_from_slice(b"MAIL\r\n"));
        transmit.advance(2);
        transmit.discard();
        assert!(transmit.is_empty());
        assert_eq!((transmit.written(), transmit.queued()), (2, 2));
    }
}
