// SPDX-License-Identifier: GPL-2.0

//! Urgent bytes: their positions in the stream, and their handling at each end.
//!
//! With [`super::Feature::Urgent`] a producer marks the urgent byte in the indexes page. Each
//! direction has one urgent byte at a time; a later one replaces an earlier one, as in TCP. The
//! words are hints about bytes that the stream has anyway, so any value from the other end is
//! harmless.

use super::{
    indexes::{
        IN_URGENT,
        IN_URGENT_INDEX,
        OUT_URGENT_END, //
    },
    stream::SharedWords, //
};

/// Flag in [`IN_URGENT`]: there is an urgent byte.
const ANNOUNCED: u32 = 1 << 8;
/// Flag in [`IN_URGENT`]: the value of the byte is in the lowest bits.
const ARRIVED: u32 = 1 << 9;

/// The backend's notice of the urgent byte of `in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Index of the byte in the stream. The byte need not be produced yet.
    pub index: u32,
    /// Value of the byte, once the backend has received it.
    pub byte: Option<u8>,
}

impl Notice {
    /// Returns the backend's notice. Returns [`None`] if there is none, or if the backend is just
    /// changing it; in that case it notifies afterwards.
    pub fn load(words: &impl SharedWords) -> Option<Self> {
        let word = words.load_acquire(IN_URGENT);
        if word & ANNOUNCED == 0 {
            return None;
        }
        let index = words.load_acquire(IN_URGENT_INDEX);
        if words.load(IN_URGENT) != word {
            return None;
        }
        let [byte, ..] = word.to_le_bytes();
        Some(Self {
            index,
            byte: (word & ARRIVED != 0).then_some(byte),
        })
    }

    /// Stores the notice. For the backend only, before the byte and those after it are produced.
    /// The caller has to notify the peer afterwards.
    pub fn store(self, words: &impl SharedWords) {
        words.store(IN_URGENT, 0);
        words.full_barrier();
        words.store(IN_URGENT_INDEX, self.index);
        let value = self.byte.map_or(0, |byte| ARRIVED | u32::from(byte));
        words.store_release(IN_URGENT, ANNOUNCED | value);
    }
}

/// Returns `true` if an index is after another, with wrap.
const fn is_after(index: u32, other: u32) -> bool {
    let ahead = index.wrapping_sub(other);
    ahead != 0 && ahead <= u32::MAX / 2
}

/// The value of the urgent byte, which can be read apart from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrgentValue {
    /// The byte has not arrived yet.
    Awaited,
    /// The byte can be read.
    Arrived(u8),
    /// The byte was read.
    Taken,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u32,
    value: UrgentValue,
}

/// The news in a notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UrgentEvents {
    /// An urgent byte is on its way: SIGURG.
    pub announced: bool,
    /// The urgent byte has arrived.
    pub arrived: bool,
}

/// The urgent byte of `in` from the reader's point of view, with the semantics of TCP.
#[derive(Debug, Default)]
pub struct UrgentIn {
    mark: Option<Mark>,
    /// Index of an urgent byte that was next to be read when another one was announced. Like TCP,
    /// the reader skips it.
    dropped: Option<u32>,
    /// Index of the last notice, which stays in the page.
    heard: Option<u32>,
}

/// The next step of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read so many bytes.
    Read(u32),
    /// Skip one byte.
    Skip,
}

impl UrgentIn {
    /// The state of a new connection.
    pub const NEW: Self = Self {
        mark: None,
        dropped: None,
        heard: None,
    };

    /// Handles a notice. `next` is the index of the byte to be read next, `ready` the number of
    /// readable bytes. `is_inline` says that urgent bytes are read as part of the stream.
    pub fn update(
        &mut self,
        notice: Notice,
        next: u32,
        ready: u32,
        is_inline: bool,
    ) -> UrgentEvents {
        let mut news = UrgentEvents::default();
        let is_later = |mark: Mark| is_after(notice.index, mark.index);
        if self.heard.replace(notice.index) != Some(notice.index) {
            if is_after(next, notice.index) || !self.mark.is_none_or(is_later) {
                return news;
            }
            if self.is_at_mark(next) && !is_inline && ready > 0 {
                self.dropped = Some(next);
            }
            self.mark = Some(Mark {
                index: notice.index,
                value: UrgentValue::Awaited,
            });
            news.announced = true;
        }
        if let (Some(mark), Some(byte)) = (&mut self.mark, notice.byte) {
            if mark.index == notice.index && mark.value == UrgentValue::Awaited {
                mark.value = UrgentValue::Arrived(byte);
                news.arrived = true;
            }
        }
        news
    }

    /// Returns `true` if the next byte to be read is the urgent one.
    pub fn is_at_mark(&self, next: u32) -> bool {
        self.mark.is_some_and(|mark| mark.index == next)
    }

    /// Returns the next step for reading `len` bytes, at least 1, from `next` on.
    pub fn step(&self, next: u32, len: u32, is_inline: bool) -> Step {
        if self.dropped == Some(next) {
            return Step::Skip;
        }
        let Some(mark) = self.mark else {
            return Step::Read(len);
        };
        match mark.index.wrapping_sub(next) {
            0 if is_inline => Step::Read(len),
            0 => Step::Skip,
            before => Step::Read(len.min(before)),
        }
    }

    /// Forgets bytes that were passed. `next` is the index of the byte to be read next.
    pub fn pass(&mut self, next: u32) {
        self.mark = self.mark.filter(|mark| !is_after(next, mark.index));
        self.dropped = self.dropped.filter(|index| !is_after(next, *index));
    }

    /// Returns the number of the `ready` bytes from `next` on that precede the urgent byte; `ready`
    /// if it is not among them.
    pub fn before_mark(&self, next: u32, ready: u32) -> u32 {
        match self.mark {
            Some(mark) if mark.index.wrapping_sub(next) < ready => mark.index.wrapping_sub(next),
            _ => ready,
        }
    }

    /// Returns the value of the urgent byte, if there is one.
    pub fn value(&self) -> Option<UrgentValue> {
        self.mark.map(|mark| mark.value)
    }

    /// Notes that the value was read.
    pub fn take(&mut self) {
        if let Some(mark) = &mut self.mark {
            mark.value = UrgentValue::Taken;
        }
    }
}

/// Marks the byte before `end` as urgent. For the frontend only, before the byte is produced.
pub fn mark_end(words: &impl SharedWords, end: u32) {
    words.store(OUT_URGENT_END, end);
}

/// The urgent byte of `out` from the backend's point of view.
#[derive(Debug, Default)]
pub struct UrgentOut {
    /// The last word that was handled.
    done: u32,
}

/// The next bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextBytes {
    /// Number of bytes.
    pub len: u32,
    /// Set for an urgent byte, which is sent alone.
    pub is_urgent: bool,
}

impl NextBytes {
    /// Returns a piece of `len` bytes, none of which is urgent.
    pub const fn all(len: u32) -> Self {
        Self {
            len,
            is_urgent: false,
        }
    }
}

impl UrgentOut {
    /// Returns the last word that was handled.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Returns the piece of the `ready` bytes, at least 1, from `next` on that is to be sent next.
    /// To be called after the bytes were found.
    pub fn piece(&mut self, words: &impl SharedWords, next: u32, ready: u32) -> NextBytes {
        let all = NextBytes::all(ready);
        let end = words.load(OUT_URGENT_END);
        if end == self.done {
            return all;
        }
        if !is_after(end, next) {
            // The byte has been sent, or never will be.
            self.done = end;
            return all;
        }
        match end.wrapping_sub(next) {
            1 => NextBytes {
                len: 1,
                is_urgent: true,
            },
            ahead => NextBytes::all(ready.min(ahead.wrapping_sub(1))),
        }
    }
}
