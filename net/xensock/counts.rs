// SPDX-License-Identifier: GPL-2.0

//! Counts that both ends have. Any context.

use crate::proto::Command;
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The largest value that something has reached.
pub(crate) struct Peak(Atomic<usize>);

impl Peak {
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Notes the present value.
    pub(crate) fn note(&self, now: usize) {
        let mut most = self.0.load(Relaxed);
        while now > most {
            match self.0.cmpxchg(most, now, Relaxed) {
                Ok(_) => return,
                Err(other) => most = other,
            }
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// The number of requests of each command.
pub(crate) struct Requests([Atomic<u64>; Command::ALL.len()]);

impl Requests {
    pub(crate) fn new() -> Self {
        Self([const { Atomic::new(0) }; Command::ALL.len()])
    }

    pub(crate) fn count(&self, command: Command) {
        // CAST: The index of the command, and so of its count.
        if let Some(count) = self.0.get(command as usize) {
            count.add(1, Relaxed);
        }
    }

    /// Writes a line for each command: its name and the count.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for command in Command::ALL {
            // CAST: As above.
            let count = self.0.get(command as usize);
            let count = count.map_or(0, |count| count.load(Relaxed));
            f.write_fmt(fmt!("{} {count}\n", command.name()))?;
        }
        Ok(())
    }
}
