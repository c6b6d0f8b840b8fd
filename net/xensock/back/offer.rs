// SPDX-License-Identifier: GPL-2.0

//! The backend's offer to its frontend, which waits for the policy.

use crate::{
    policy::InForce,
    proto::{
        link::{
            back_probe,
            BackAction, //
        },
        node,
        Dialect,
        Feature, //
    },
    quirks,
    transport::OFFERED, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    xen::xenbus::{
        self,
        State, //
    }, //
};

/// The offer of one device. No frontend connects without an offer, and the offer waits for the
/// policy. So no frontend connects before its policy is there.
pub(crate) struct LinkOffer {
    dev: ARef<xenbus::Device>,
    dialect: Dialect,
    policy: Arc<InForce>,
}

impl LinkOffer {
    pub(crate) fn new(dev: &xenbus::Device, dialect: Dialect, policy: Arc<InForce>) -> Self {
        Self {
            dev: dev.into(),
            dialect,
            policy,
        }
    }

    /// Makes the offer, unless the policy is not there yet. Returns `true` if it has made it. May
    /// sleep.
    pub(crate) fn make(&self) -> Result<bool> {
        let policy = self.policy.get();
        if !policy.is_complete() {
            return Ok(false);
        }
        let quirks = quirks::of(self.dialect);
        let order = policy.max_ring_order().get();
        self.dev.transaction(|t| {
            t.write(node::VERSIONS, fmt!("{}", node::THE_VERSION))?;
            quirks.offer(order, &mut |node, value| t.write(node, fmt!("{value}")))?;
            for feature in Feature::ALL {
                let has = u32::from(OFFERED.has(feature));
                t.write(feature.offered(), fmt!("{has}"))?;
            }
            Ok(())
        })?;
        self.dev.switch_state(State::InitWait)?;
        Ok(true)
    }

    /// Makes the first offer, if the dialect has it made without a frontend that asks. May sleep.
    pub(crate) fn begin(&self) -> Result {
        let is_first = self.dev.state() == State::Initialising;
        if is_first && back_probe(self.dialect) == BackAction::Offer {
            self.make()?;
        }
        Ok(())
    }

    /// Takes back what is left of the offers: the next driver may be the C driver of PV Calls, which
    /// would leave these nodes there.
    pub(crate) fn end(&self) {
        let _ = self.dev.remove(node::NATIVE_OFFERED);
        let _ = self.dev.remove(node::NATIVE_MAX_PAGE_ORDER);
    }
}
