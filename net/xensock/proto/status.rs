// SPDX-License-Identifier: GPL-2.0

//! The status words: how a CONNECT or an ACCEPT that was answered at once has ended.
//!
//! With [`super::Feature::Status`] the response to these requests only says that the backend has
//! taken them on, so that one that takes long holds no slot of the commands ring. The outcome comes
//! through the indexes page of the data ring, in words that only the backend writes: first the
//! address that belongs to it, then, with a release store, the status, once. Then it notifies the
//! event channel of the connection.

use core::net::SocketAddr;

use super::{
    addr::{
        self,
        BadAddr, //
    },
    errno,
    indexes::{
        NAME,
        NAME_LEN,
        STATUS, //
    },
    stream::Words,
    Dialect, //
};

/// What the status word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not decided yet.
    Pending,
    /// The connection stands, and the name is there.
    Established,
    /// There is no connection, for the reason of this (positive) number. Only RELEASE can follow.
    Failed(i32),
    /// A word that no backend writes: the socket fails with [`errno::EPROTO`].
    Nonsense,
}

impl Outcome {
    /// Reads a status word.
    pub const fn from_wire(word: i32) -> Self {
        match word {
            0 => Self::Pending,
            1 => Self::Established,
            2.. => Self::Nonsense,
            _ => Self::Failed(errno::final_from_wire(word)),
        }
    }

    /// Returns the status word.
    ///
    /// A failure never reads as anything else; [`Outcome::Nonsense`] has no word of its own, and is
    /// a failure too.
    pub const fn to_wire(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Established => 1,
            Self::Failed(number) => match errno::to_wire(number) {
                0 => -errno::EIO,
                word => word,
            },
            Self::Nonsense => -errno::EPROTO,
        }
    }
}

/// Returns the outcome so far. If it is [`Outcome::Established`], [`name`] may be called.
pub fn load(words: &impl Words) -> Outcome {
    let word = words.load_acquire(STATUS);

    Outcome::from_wire(i32::from_le_bytes(word.to_le_bytes()))
}

/// Returns a copy of the name: of CONNECT the local address, of ACCEPT the peer's.
///
/// To be called once: the backend can change it at any time. No address means [`errno::EPROTO`] for
/// the socket.
pub fn name(words: &impl Words) -> Result<SocketAddr, BadAddr> {
    let mut bytes = [0; addr::LEN];

    for (offset, chunk) in (NAME..).step_by(4).zip(bytes.chunks_exact_mut(4)) {
        chunk.copy_from_slice(&words.load(offset).to_le_bytes());
    }
    addr::decode(Dialect::XenSock, &bytes, words.load(NAME_LEN))
}

/// Says that the connection stands. For the backend only, once; notify after it.
pub fn establish(words: &impl Words, name: &SocketAddr) {
    // The native dialect has all addresses.
    if let Some((bytes, len)) = addr::encode(Dialect::XenSock, name) {
        for (offset, chunk) in (NAME..).step_by(4).zip(bytes.chunks_exact(4)) {
            let mut word = [0; 4];
            word.copy_from_slice(chunk);
            words.store(offset, u32::from_le_bytes(word));
        }
        words.store(NAME_LEN, len);
    }
    store(words, Outcome::Established);
}

/// Says that there will be no connection, with a positive number. For the backend only, once;
/// notify after it.
pub fn fail(words: &impl Words, number: i32) {
    store(words, Outcome::Failed(number));
}

/// Writes the status word, after everything that belongs to it.
fn store(words: &impl Words, outcome: Outcome) {
    words.store_release(STATUS, u32::from_le_bytes(outcome.to_wire().to_le_bytes()));
}
