// SPDX-License-Identifier: GPL-2.0

//! The link: what an end does when the other end's xenbus state has changed.
//!
//! Each end has a state of its own, in a xenstore node that only it writes, and watches the other
//! end's. A watch says that the state *has been* written: states in between may be missed, and the
//! same one may be seen twice. So each table is total, every state that the other end may have
//! reached unseen is handled, and an action leads to a state from where the next look continues.
//!
//! # Rules for the drivers
//!
//! - In `probe`, write `Initialising` if the own state is another (the module was loaded again),
//!   then do [`back_probe`]; xenbus reports the other end's state for the first time by itself.
//! - On every report, read the other end's state, act, and repeat until the action is `Ignore`. The
//!   repetition matters: after a `Reset` the offer to connect to may already be there.
//! - An action that sets something up drops first whatever is left of an earlier link.
//! - A backend whose `Connect` fails says so (`xenbus_dev_error()`), keeps nothing, stays `InitWait`
//!   and waits for the next report. The usual reason is a frontend that has gone meanwhile, and
//!   perhaps come back: it may be answering the same offer.
//! - Any other action that fails, like a peer that breaks the protocol, ends in tearing down and
//!   writing `Closing` (`xenbus_dev_fatal()`). A link that ended so comes back only when one of the
//!   two drivers is loaded again or the device is made anew: a fault never becomes a loop.
//! - In `unbind`, tear down; xenbus then writes `Closed`.
//!
//! `tools/hosttest/tests/link.rs` walks through all interleavings of both machines while modules come
//! and go, ends fail and devices are taken away, and shows where they come to rest.

use super::Dialect;

/// A xenbus state, with the numbers that are in xenstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndState {
    /// There is none: the node is gone, or was never written.
    Unknown = 0,
    /// The device is there; its driver may be, and offers or asks nothing yet.
    Initialising = 1,
    /// The backend has written what it offers. A standing offer: it holds until it is taken.
    InitWait = 2,
    /// The frontend has written where its ring is.
    Initialised = 3,
    /// The link is up.
    Connected = 4,
    /// The end wants the link to end, and uses nothing of the other's any more.
    Closing = 5,
    /// The end is done.
    Closed = 6,
    /// Not used by this protocol.
    Reconfiguring = 7,
    /// Not used by this protocol.
    Reconfigured = 8,
}

impl EndState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// Returns the state with this number; a number that no state has is [`EndState::Unknown`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| state.number() == number)
            .unwrap_or(Self::Unknown)
    }

    /// Returns the number in xenstore.
    pub const fn number(self) -> u32 {
        // CAST: The discriminants are given above.
        self as u32
    }
}

/// What a frontend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontAction {
    /// Nothing: wait for the next report.
    Ignore,
    /// Read what is offered, set up the commands ring, write where it is, go `Initialised`.
    Connect,
    /// Take the link into use, go `Connected`.
    Connected,
    /// Tear down, go `Closed` (`xenbus_frontend_closed()`).
    Close,
    /// Tear down, go `Initialising`: the backend is a new one.
    Reset,
}

/// Returns what a frontend in state `own` does when it reads that the backend is in `other`.
pub const fn front_next(own: EndState, other: EndState) -> FrontAction {
    match (own, other) {
        // The offer. Every other state is what an earlier link has left, or not there yet.
        (EndState::Initialising, EndState::InitWait) => FrontAction::Connect,
        (EndState::Initialising, _) => FrontAction::Ignore,

        (EndState::Initialised, EndState::Connected) => FrontAction::Connected,
        // The backend had offered before we came here, so this is another one; it may offer less.
        (EndState::Initialised, EndState::Initialising) => FrontAction::Reset,

        // The backend was connected before we were, so this is another one: it has no ring of ours.
        (EndState::Connected, EndState::Initialising | EndState::InitWait) => FrontAction::Reset,

        (
            EndState::Initialised | EndState::Connected,
            EndState::Closing | EndState::Closed | EndState::Unknown,
        ) => FrontAction::Close,

        // We have asked for the end, which is reached once the backend uses nothing of ours. An
        // offer is not an answer: a link that we could not set up must not begin again by itself.
        (
            EndState::Closing,
            EndState::Closing | EndState::Closed | EndState::Unknown | EndState::Initialising,
        ) => FrontAction::Close,

        // A new backend. (One that has stayed does not go to these states by itself.)
        (EndState::Closed, EndState::Initialising | EndState::InitWait) => FrontAction::Reset,

        _ => FrontAction::Ignore,
    }
}

/// What a backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackAction {
    /// Nothing: wait for the next report.
    Ignore,
    /// Tear down, write what is offered, go `InitWait`.
    Offer,
    /// Read where the ring is, map and bind it, go `Connected`; if that fails, see above.
    Connect,
    /// Read where the ring is. If that is not the one in use, the frontend is another one: change
    /// to its ring. Stay `Connected`.
    Recheck,
    /// Tear down, go `Closing`, wait for the frontend to finish.
    Disconnect,
    /// Tear down, go `Closed`.
    Close,
    /// Tear down and remove the own directory in xenstore: the frontend's is gone, with its domain
    /// or by the toolstack's hand.
    Remove,
}

/// Returns what a backend does at the end of `probe`.
///
/// The native dialect waits for a frontend that asks. The C frontend of PV Calls reads the offer as
/// soon as it is loaded, and never again, so there it must be made at once.
pub const fn back_probe(dialect: Dialect) -> BackAction {
    match dialect {
        Dialect::XenSock => BackAction::Ignore,
        Dialect::PvCalls => BackAction::Offer,
    }
}

/// Returns what a backend in state `own` does when it reads that the frontend is in `other`.
///
/// `online` is the node of this name in the backend's directory, by which the toolstack says whether
/// it wants the device (`xenbus_dev_is_online()`).
pub const fn back_next(own: EndState, other: EndState, online: bool) -> BackAction {
    match (own, other) {
        // A device that is to go is not offered, whoever asks. The toolstack that has said so waits
        // for `Closed`, and removes both directories itself.
        (EndState::Closed, EndState::Initialising | EndState::Initialised | EndState::Unknown)
            if !online =>
        {
            BackAction::Ignore
        }
        (_, EndState::Initialising | EndState::Unknown) if !online => BackAction::Close,

        // A frontend that had to do with an earlier backend notices us, and comes here.
        (EndState::Initialising, EndState::Initialising) => BackAction::Offer,
        (EndState::Initialising, _) => BackAction::Ignore,

        (_, EndState::Unknown) => BackAction::Remove,

        (EndState::InitWait, EndState::Initialised) => BackAction::Connect,
        // Nothing is in use, and the frontend may have seen the offer: taking it back now would
        // cross with its answer.
        (EndState::InitWait, EndState::Closed) if !online => BackAction::Close,
        // `Connected` too is of an earlier link; the frontend resets when it sees the offer.
        (EndState::InitWait, _) => BackAction::Ignore,

        // Usually an echo; but the frontend may have been loaded again while we were connecting.
        (EndState::Connected, EndState::Initialised | EndState::Connected) => BackAction::Recheck,
        // We missed how the earlier frontend ended.
        (EndState::Connected | EndState::Closing | EndState::Closed, EndState::Initialising) => {
            BackAction::Offer
        }
        (EndState::Connected, EndState::Closing) => BackAction::Disconnect,
        (EndState::Connected | EndState::Closing, EndState::Closed) => BackAction::Close,

        // The C frontend comes back without being `Initialising` first.
        (EndState::Closed, EndState::Initialised) => BackAction::Offer,

        _ => BackAction::Ignore,
    }
}
