// SPDX-License-Identifier: GPL-2.0

//! Urgent bytes: where the stream has one, and what each end makes of that.
//!
//! With [`super::Feature::Urgent`] an end that produces says in the indexes page which byte was sent
//! as urgent. Each direction knows of one at a time; a later one takes the place of an earlier one,
//! as in TCP. The words are hints about bytes that the stream has anyway, so whatever the other end
//! writes there is harmless.

use super::{
    indexes::{
        IN_URGENT,
        IN_URGENT_INDEX,
        OUT_URGENT_END, //
    },
    stream::Words, //
};

/// In [`IN_URGENT`]: there is an urgent byte.
const ANNOUNCED: u32 = 1 << 8;
/// In [`IN_URGENT`]: and its value is in the lowest bits.
const ARRIVED: u32 = 1 << 9;

/// What the backend says of the urgent byte of `in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it is in the stream. It need not be produced yet.
    pub index: u32,
    /// What it is, once the backend has got it.
    pub byte: Option<u8>,
}

impl Notice {
    /// Returns what the backend says, unless that is nothing, or just being changed. In the latter
    /// case it notifies afterwards.
    pub fn load(words: &impl Words) -> Option<Self> {
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

    /// Says it. For the backend only, before the byte and what is behind it are produced; notify
    /// after it.
    pub fn store(self, words: &impl Words) {
        words.store(IN_URGENT, 0);
        words.full_barrier();
        words.store(IN_URGENT_INDEX, self.index);
        let value = self.byte.map_or(0, |byte| ARRIVED | u32::from(byte));
        words.store_release(IN_URGENT, ANNOUNCED | value);
    }
}

/// Returns whether an index is behind another, with wrap.
const fn is_after(index: u32, other: u32) -> bool {
    let ahead = index.wrapping_sub(other);
    ahead != 0 && ahead <= u32::MAX / 2
}

/// The value of the urgent byte, apart from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrgentValue {
    /// The byte has not come yet.
    Awaited,
    /// It can be read.
    Arrived(u8),
    /// It was read.
    Taken,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u32,
    value: UrgentValue,
}

/// What a notice was news of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UrgentEvents {
    /// There is an urgent byte on the way: SIGURG.
    pub announced: bool,
    /// It has come.
    pub arrived: bool,
}

/// The urgent byte of `in` from the reader's point of view, as TCP has it.
#[derive(Debug, Default)]
pub struct UrgentIn {
    mark: Option<Mark>,
    /// An urgent byte that was next to be read when another was announced: then TCP has it vanish.
    dropped: Option<u32>,
    /// The index of the last notice: it stays in the page.
    heard: Option<u32>,
}

/// What a reader may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read so many bytes.
    Read(u32),
    /// Leave out one.
    Skip,
}

impl UrgentIn {
    /// That of a new connection.
    pub const NEW: Self = Self {
        mark: None,
        dropped: None,
        heard: None,
    };

    /// Hears of an urgent byte. `next` is the byte to be read next, of `ready` that can be read;
    /// `is_inline` says that urgent bytes are part of what is read.
    pub fn hear(&mut self, notice: Notice, next: u32, ready: u32, is_inline: bool) -> UrgentEvents {
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

    /// Returns whether the next byte to be read is the urgent one.
    pub fn is_at_mark(&self, next: u32) -> bool {
        self.mark.is_some_and(|mark| mark.index == next)
    }

    /// Returns what comes next for who reads `len` bytes, at least 1, from `next` on.
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

    /// Forgets what was passed. `next` is the byte to be read next.
    pub fn pass(&mut self, next: u32) {
        self.mark = self.mark.filter(|mark| !is_after(next, mark.index));
        self.dropped = self.dropped.filter(|index| !is_after(next, *index));
    }

    /// Returns how many of the `ready` bytes from `next` on are before the urgent one, or all of
    /// them if that has not come.
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

/// Says that the byte before `end` is urgent. For the frontend only, before it is produced.
pub fn mark_end(words: &impl Words, end: u32) {
    words.store(OUT_URGENT_END, end);
}

/// The urgent byte of `out` from the backend's point of view.
#[derive(Debug, Default)]
pub struct UrgentOut {
    /// The last word that was dealt with.
    done: u32,
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextBytes {
    /// So many bytes.
    pub len: u32,
    /// As urgent: then it is one.
    pub is_urgent: bool,
}

impl NextBytes {
    /// Returns a piece of `len` bytes none of which is urgent.
    pub const fn all(len: u32) -> Self {
        Self {
            len,
            is_urgent: false,
        }
    }
}

impl UrgentOut {
    /// Returns the last word that was dealt with.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Returns what of the `ready` bytes, at least 1, from `next` on is to be sent next. To be called
    /// after they were found.
    pub fn piece(&mut self, words: &impl Words, next: u32, ready: u32) -> NextBytes {
        let all = NextBytes::all(ready);
        let end = words.load(OUT_URGENT_END);
        if end == self.done {
            return all;
        }
        if !is_after(end, next) {
            // It has been sent, or never will be.
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
