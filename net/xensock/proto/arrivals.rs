// SPDX-License-Identifier: GPL-2.0

//! The times at which the frames in a ring have arrived.

/// Number of times that are kept. Programs that want to know seldom leave more datagrams unread.
const MOST: usize = 8;

/// Stands for a time that was not noted.
const UNKNOWN: i64 = 0;

/// The frames from the end of the previous one on.
#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    /// The offset of their end.
    end: u32,
    /// The time of their arrival.
    time: i64,
}

/// The times at which the frames in a ring have arrived. Offsets are those from the first frame
/// that is not consumed.
///
/// # Examples
///
/// ```
/// use xensock_hosttest::proto::arrivals::Arrivals;
/// let mut arrivals = Arrivals::default();
/// arrivals.note(0, 100, 7);
/// arrivals.note(100, 148, 9);
/// arrivals.forget(60);
/// // The rest of the former 100 bytes.
/// assert_eq!(arrivals.time_of(0), Some(7));
/// assert_eq!(arrivals.time_of(40), Some(9));
/// assert_eq!(arrivals.time_of(88), None);
/// ```
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The first `len` are in use, in the order of their ends.
    kept: [Arrival; MOST],
    len: usize,
}

impl Arrivals {
    /// Notes that the frames between two offsets have arrived at `time`.
    ///
    /// The latest time that is kept serves them too if there is no place for another.
    pub fn note(&mut self, from: u32, to: u32, time: i64) {
        let end = self.in_use().last().map_or(0, |last| last.end);
        if from > end {
            self.push(from, UNKNOWN);
        }
        if to > from {
            self.push(to, time);
        }
    }

    /// Returns the time at which the frame at an offset has arrived, if it was noted.
    pub fn time_of(&self, offset: u32) -> Option<i64> {
        let arrival = self.in_use().find(|arrival| offset < arrival.end)?;
        (arrival.time != UNKNOWN).then_some(arrival.time)
    }

    /// Notes that the first bytes were consumed.
    pub fn forget(&mut self, bytes: u32) {
        let gone = self.in_use().filter(|arrival| arrival.end <= bytes).count();
        // The ends ascend, so these are the first ones.
        self.kept.rotate_left(gone);
        self.len -= gone;
        for arrival in &mut self.kept {
            arrival.end = arrival.end.saturating_sub(bytes);
        }
    }

    fn in_use(&self) -> impl Iterator<Item = &Arrival> {
        self.kept.iter().take(self.len)
    }

    fn push(&mut self, end: u32, time: i64) {
        match self.kept.get_mut(self.len) {
            Some(place) => {
                *place = Arrival { end, time };
                self.len += 1;
            }
            None => {
                if let Some(last) = self.kept.last_mut() {
                    last.end = end;
                }
            }
        }
    }
}
