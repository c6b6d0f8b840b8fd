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
    device::DeviceContext,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow,
        Mutex, //
    },
    xen::xenbus::{
        self,
        Directory,
        State,
        Watcher, //
    }, //
};

/// The offer of one device. No frontend connects without an offer, and the offer waits for the
/// policy. So no frontend connects before its policy is there.
#[pin_data]
pub(crate) struct LinkOffer {
    dev: ARef<xenbus::Device>,
    dialect: Dialect,
    policy: Arc<InForce>,
    /// `true` until [`Self::end`]: the offer can still be made. Locked while it is made.
    #[pin]
    is_open: Mutex<bool>,
}

impl LinkOffer {
    pub(crate) fn new(
        dev: &xenbus::Device,
        dialect: Dialect,
        policy: Arc<InForce>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                dialect,
                policy,
                is_open <- new_mutex!(true, "xensock_offer"),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the offer, unless the policy is not there yet. Returns `true` if it has made it.
    pub(crate) fn make(&self) -> Result<bool> {
        let is_open = self.is_open.lock();
        let policy = self.policy.get();
        if !*is_open || !policy.is_complete() {
            return Ok(false);
        }
        let quirks = quirks::of(self.dialect);
        let order = policy.max_ring_order().get();
        self.dev.transaction(|t| {
            t.write(node::VERSIONS, fmt!("1"))?;
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

    /// Makes the offer at the end of `probe`, if the dialect has it made then.
    pub(crate) fn begin(&self) -> Result {
        if back_probe(self.dialect) == BackAction::Offer {
            self.make()?;
        }
        Ok(())
    }

    /// Ends the offers: afterwards none is made.
    pub(crate) fn end<Ctx: DeviceContext>(&self, dev: &xenbus::Device<Ctx>) {
        *self.is_open.lock() = false;
        // The next driver may be the C driver of PV Calls, which would leave these nodes there.
        let _ = dev.remove(node::NATIVE_OFFERED);
        let _ = dev.remove(node::NATIVE_MAX_PAGE_ORDER);
    }

    /// Makes the offers that had to wait for the policy.
    fn catch_up(&self) -> Result {
        self.begin()?;
        if self.frontend_asks() {
            self.make()?;
        }
        Ok(())
    }

    /// Returns `true` if the frontend waits for an offer.
    fn frontend_asks(&self) -> bool {
        let state = || -> Result<u32> {
            let path = self.dev.own_dir().read(c"frontend")?;
            let path = core::str::from_utf8(&path).map_err(|_| EINVAL)?;
            Directory::new(&CString::try_from_fmt(fmt!("{path}"))?).read_u32(c"state")
        };
        state() == Ok(State::Initialising.number())
    }
}

impl Watcher for LinkOffer {
    fn changed(this: ArcBorrow<'_, Self>, _path: &CStr) {
        let waited = !this.policy.get().is_complete();
        this.policy.read_again();
        if waited && this.policy.get().is_complete() {
            if let Err(error) = this.catch_up() {
                this.dev.fatal(error, c"cannot serve the frontend");
            }
        }
    }
}
