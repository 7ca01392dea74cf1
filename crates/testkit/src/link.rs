//! A connection between two sessions, in virtual time: latency, segments of any size, bounded
//! buffers, a rate, and ways to break.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// What a direction of a connection is like.
#[derive(Clone, Debug)]
pub struct PipeModel {
    /// Octets it holds, on the way and unread, before writes block.
    pub capacity: usize,
    /// Octets of a segment; each is cut anew.
    pub segment: RangeInclusive<usize>,
    /// How long a segment is on its way, in milliseconds.
    pub latency: RangeInclusive<usize>,
    /// Octets a second.
    pub rate: Option<usize>,
    /// How it breaks.
    pub breakage: Option<Breakage>,
}

impl Default for PipeModel {
    /// 64 KiB of buffer, segments as they are written, 5 ms, no limit to the rate, never broken.
    fn default() -> Self {
        let usual = 64 * 1024;
        Self { capacity: usual, segment: usual..=usual, latency: 5..=5, rate: None, breakage: None }
    }
}

/// Where a direction breaks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakage {
    /// Octets that still arrive.
    pub after: u64,
    /// What happens then.
    pub how: Break,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The reader sees the end; the writer notices nothing.
    Fin,
    /// Both directions are gone at once, with all that was on the way.
    Rst,
    /// Nothing arrives any more, and nobody is told.
    Silence,
}

/// What a read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Octets, at least one.
    Octets(Vec<u8>),
    /// There will be no more.
    End,
    /// The connection has to be [reset](Pipe::reset) in both directions.
    Reset,
    /// Nothing now.
    Nothing,
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Pipe {
    model: PipeModel,
    segments: VecDeque<(Instant, Vec<u8>)>,
    /// Octets in `segments`.
    held: usize,
    /// Octets read so far.
    read: u64,
    /// When the writer ended it, as it arrives.
    end: Option<Instant>,
    /// When the last segment arrives.
    last_arrival: Option<Instant>,
    is_reset: bool,
}

impl Pipe {
    /// A pipe with nothing in it.
    pub fn new(model: PipeModel) -> Self {
        let (segments, is_reset) = (VecDeque::new(), false);
        Self { model, segments, held: 0, read: 0, end: None, last_arrival: None, is_reset }
    }

    /// How many octets a write takes now; `None` if it fails.
    pub fn room(&self) -> Option<usize> {
        let is_open = !self.is_reset && self.end.is_none();
        is_open.then(|| self.model.capacity - self.held)
    }

    /// Takes octets for which there is [`room`](Self::room).
    ///
    /// # Panics
    ///
    /// If there is not.
    pub fn write(&mut self, now: Instant, mut octets: &[u8], dice: &mut Dice) {
        assert!(self.room().is_some_and(|room| octets.len() <= room), "no room in the pipe");
        self.held += octets.len();
        while !octets.is_empty() {
            let length = dice.within(self.model.segment.clone()).clamp(1, octets.len());
            let (segment, rest) = octets.split_at(length);
            octets = rest;
            let arrival = self.arrival(now, length, dice);
            self.segments.push_back((arrival, segment.to_vec()));
        }
    }

    /// The writer will write no more.
    pub fn finish(&mut self, now: Instant, dice: &mut Dice) {
        if self.end.is_none() {
            self.end = Some(self.arrival(now, 0, dice));
        }
    }

    /// All is lost that was on the way; both sides will notice.
    pub fn reset(&mut self) {
        self.is_reset = true;
        self.segments.clear();
        self.held = 0;
    }

    /// Takes at most `most` octets that have arrived.
    pub fn read(&mut self, now: Instant, most: usize) -> Read {
        if self.is_reset {
            return Read::End;
        }
        let left = match self.model.breakage {
            Some(Breakage { after, how }) if after <= self.read => {
                return match how {
                    Break::Fin => Read::End,
                    Break::Rst => Read::Reset,
                    Break::Silence => Read::Nothing,
                };
            }
            Some(Breakage { after, .. }) => usize::try_from(after - self.read).unwrap_or(most),
            None => most,
        };
        let octets = self.take(now, most.min(left));
        if !octets.is_empty() {
            return Read::Octets(octets);
        }
        let is_over = self.segments.is_empty() && self.end.is_some_and(|end| end <= now);
        if is_over { Read::End } else { Read::Nothing }
    }

    /// Whether nothing is on the way or unread.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// When something arrives next that is not there yet.
    pub fn next_arrival(&self, now: Instant) -> Option<Instant> {
        let arrivals = self.segments.iter().map(|(arrival, _)| *arrival).chain(self.end);
        arrivals.into_iter().find(|arrival| *arrival > now)
    }

    fn arrival(&mut self, now: Instant, octets: usize, dice: &mut Dice) -> Instant {
        let transfer = match self.model.rate {
            Some(rate) => Duration::from_secs_f64(octets as f64 / rate as f64),
            None => Duration::ZERO,
        };
        let earliest = now + dice.millis(self.model.latency.clone());
        // Segments do not overtake one another.
        let arrival = self.last_arrival.map_or(earliest, |last| last.max(earliest)) + transfer;
        self.last_arrival = Some(arrival);
        arrival
    }

    fn take(&mut self, now: Instant, most: usize) -> Vec<u8> {
        let mut octets = Vec::new();
        while let Some((arrival, segment)) = self.segments.front_mut() {
            let room = most - octets.len();
            if *arrival > now || room == 0 {
                break;
            }
            if segment.len() <= room {
                octets.append(segment);
                self.segments.pop_front();
            } else {
                octets.extend(segment.drain(..room));
            }
        }
        self.held -= octets.len();
        self.read += octets.len() as u64;
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pipe: &mut Pipe, clock: &mut Instant) -> (Vec<u8>, Read) {
        let mut octets = Vec::new();
        loop {
            match pipe.read(*clock, 3) {
                Read::Octets(more) => octets.extend(more),
                Read::Nothing => match pipe.next_arrival(*clock) {
                    Some(next) => *clock = next,
                    None => return (octets, Read::Nothing),
                },
                end => return (octets, end),
            }
        }
    }

    #[test]
    fn octets_arrive_in_order_and_in_time() {
        let start = Instant::now();
        let mut dice = Dice::from_seed(1);
        let model = PipeModel { segment: 1..=4, latency: 5..=9, ..PipeModel::default() };
        let mut pipe = Pipe::new(model);
        pipe.write(start, b"250-one\r\n250 two\r\n", &mut dice);
        pipe.finish(start, &mut dice);
        assert_eq!(pipe.room(), None);
        assert_eq!(pipe.read(start, 100), Read::Nothing);
        let mut now = start;
        assert_eq!(read_all(&mut pipe, &mut now), (b"250-one\r\n250 two\r\n".into(), Read::End));
        assert!((5..=9).contains(&(now - start).as_millis()));
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_it_is_read() {
        let now = Instant::now();
        let mut dice = Dice::from_seed(1);
        let model = PipeModel { capacity: 4, latency: 0..=0, ..PipeModel::default() };
        let mut pipe = Pipe::new(model);
        pipe.write(now, b"abcd", &mut dice);
        assert_eq!(pipe.room(), Some(0));
        assert_eq!(pipe.read(now, 3), Read::Octets(b"abc".into()));
        assert_eq!(pipe.room(), Some(3));
    }

    #[test]
    fn a_rate_takes_time() {
        let start = Instant::now();
        let model = PipeModel { rate: Some(10), latency: 0..=0, ..PipeModel::default() };
        let mut pipe = Pipe::new(model);
        pipe.write(start, b"abcde", &mut Dice::from_seed(1));
        assert_eq!(pipe.next_arrival(start), Some(start + Duration::from_millis(500)));
    }

    #[test]
    fn breaks_come_at_their_octet() {
        for (how, expected) in
            [(Break::Fin, Read::End), (Break::Rst, Read::Reset), (Break::Silence, Read::Nothing)]
        {
            let mut now = Instant::now();
            let breakage = Some(Breakage { after: 4, how });
            let mut pipe = Pipe::new(PipeModel { breakage, ..PipeModel::default() });
            pipe.write(now, b"abcdef", &mut Dice::from_seed(1));
            assert_eq!(read_all(&mut pipe, &mut now), (b"abcd".into(), expected));
        }
    }
}
