// SPDX-License-Identifier: GPL-2.0

//! Features: what a link may have beyond version 1 of the native dialect.
//!
//! A backend offers a feature by a node with the value 1, a frontend takes it up by a node of its
//! own. A feature is used if both are there. PV Calls has none.

use core::ffi::CStr;

use super::Dialect;

/// A feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Event indexes are honoured, see [`super::ring::crossed`].
    EventIndex,
    /// CONNECT and ACCEPT are answered at once and end through the page, see [`super::status`].
    Status,
    /// There are datagram sockets.
    Datagram,
    /// The data ring of a connection that has ended can be used by another one.
    RingReuse,
    /// Ends say which bytes of a stream are urgent, see [`super::urgent`].
    Urgent,
    /// A posted ACCEPT says whether connections wait, see [`super::indexes::WAITING`].
    Waiting,
    /// The directions of a data ring grow and shrink, see [`super::stream`].
    RingResize,
    /// The data rings of the link share one event channel, see [`super::news`].
    SharedChannel,
    /// Datagrams have frames that say more of them, see [`super::info`].
    Info,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 9] = [
        Self::EventIndex,
        Self::Status,
        Self::Datagram,
        Self::RingReuse,
        Self::Urgent,
        Self::Waiting,
        Self::RingResize,
        Self::SharedChannel,
        Self::Info,
    ];

    /// Returns the node of a backend that offers it.
    pub const fn offered(self) -> &'static CStr {
        match self {
            Self::EventIndex => c"feature-event-index",
            Self::Status => c"feature-status",
            Self::Datagram => c"feature-datagram",
            Self::RingReuse => c"feature-ring-reuse",
            Self::Urgent => c"feature-urgent",
            Self::Waiting => c"feature-waiting",
            Self::RingResize => c"feature-ring-resize",
            Self::SharedChannel => c"feature-shared-channel",
            Self::Info => c"feature-datagram-info",
        }
    }

    /// Returns the node of a frontend that takes it up.
    pub const fn taken(self) -> &'static CStr {
        match self {
            Self::EventIndex => c"event-index",
            Self::Status => c"status",
            Self::Datagram => c"datagram",
            Self::RingReuse => c"ring-reuse",
            Self::Urgent => c"urgent",
            Self::Waiting => c"waiting",
            Self::RingResize => c"ring-resize",
            Self::SharedChannel => c"shared-channel",
            Self::Info => c"datagram-info",
        }
    }

    /// Returns the bit in a set.
    const fn bit(self) -> u16 {
        match self {
            Self::EventIndex => 1 << 0,
            Self::Status => 1 << 1,
            Self::Datagram => 1 << 2,
            Self::RingReuse => 1 << 3,
            Self::Urgent => 1 << 4,
            Self::Waiting => 1 << 5,
            Self::RingResize => 1 << 6,
            Self::SharedChannel => 1 << 7,
            Self::Info => 1 << 8,
        }
    }
}

/// A set of features: those that an end has, or that a link uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = {
        let (mut all, mut i) = (Self::NONE, 0);
        while i < Feature::ALL.len() {
            all = all.with(Feature::ALL[i]);
            i += 1;
        }
        all
    };

    /// Returns the set with a feature added.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | feature.bit())
    }

    /// Returns those of the set whose bits are in `mask`.
    #[must_use]
    pub const fn within(self, mask: u16) -> Self {
        Self(self.0 & mask)
    }

    /// Returns whether the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// Returns whether the set has all of the other. A frontend may only take what is offered.
    pub const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Reads the nodes of the other end with `number`, which gives [`None`] for an absent one.
    ///
    /// Any number but 1 says that the feature is not there.
    pub fn read<E>(
        dialect: Dialect,
        mut number: impl FnMut(Feature) -> Result<Option<u32>, E>,
    ) -> Result<Self, E> {
        let mut features = Self::NONE;

        if dialect == Dialect::XenSock {
            for feature in Feature::ALL {
                if number(feature)? == Some(1) {
                    features = features.with(feature);
                }
            }
        }
        Ok(features)
    }
}
