// SPDX-License-Identifier: GPL-2.0

//! Features: optional parts of a link beyond version 1 of the native dialect.
//!
//! A backend offers a feature by a node with the value 1, and a frontend takes it up by a node of
//! its own. A feature is used if both nodes are there. PV Calls has no features.

use core::ffi::CStr;

use super::Dialect;

/// A feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Both ends use event indexes, see [`super::ring::crossed`].
    EventIndex,
    /// CONNECT and ACCEPT are answered at once; the page reports the outcome, see
    /// [`super::status`].
    Status,
    /// There are datagram sockets.
    Datagram,
    /// Another connection can use the data ring of a connection that has ended.
    RingReuse,
    /// The ends mark urgent bytes of a stream, see [`super::urgent`].
    Urgent,
    /// A posted ACCEPT shows if connections wait, see [`super::indexes::WAITING`].
    Waiting,
    /// The directions of a data ring grow and shrink, see [`super::stream`].
    RingResize,
    /// The data rings of the link share one event channel, see [`super::news`].
    SharedChannel,
    /// Frames of datagrams can have further information, see [`super::info`].
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

    /// Returns the node of the backend that offers the feature.
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

    /// Returns the node of the frontend that takes the feature up.
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

    /// Returns the features of the set whose bits are in `mask`.
    #[must_use]
    pub const fn within(self, mask: u16) -> Self {
        Self(self.0 & mask)
    }

    /// Returns `true` if the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// Returns `true` if the set has all features of `other`. A frontend may only take what is
    /// offered.
    pub const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Reads the nodes of the other end with `number`, which returns [`None`] for an absent node.
    ///
    /// Only the number 1 says that the feature is there.
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
