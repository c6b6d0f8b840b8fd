// SPDX-License-Identifier: GPL-2.0

//! The xenbus driver: follows the backend through the states of the link.

use crate::{
    counters::Counters,
    devices,
    directory::DEBUGFS,
    link::Link,
    proto::{
        link::{
            front_next,
            is_lasting,
            EndState,
            FrontAction, //
        },
        node, //
    },
    survivors::Survivors,
    transport::read_name,
    workers::Workers, //
};
use core::mem::replace;
use kernel::{
    debugfs,
    device::{
        Bound,
        Core, //
    },
    impl_has_delayed_work,
    new_delayed_work,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        self,
        owned::cancel_delayed_sync,
        DelayedWork,
        WorkItem, //
    },
    xen::{
        trace::xensock_front as trace,
        xenbus::{
            self,
            DeviceId,
            Side,
            State, //
        }, //
    },
    xenbus_device_table, //
};

xenbus_device_table!(
    ID_TABLE,
    [DeviceId::new(c"xensock"), DeviceId::new(c"pvcalls")]
);

/// The part of a frontend that changes with the states of the two ends.
struct Ends {
    /// `false` once the driver is unbound.
    is_bound: bool,
    /// Set while steps fail for the moment, which is reported once.
    has_failed: bool,
    /// The link, from `Initialised` on.
    link: Option<Arc<Link>>,
}

/// The frontend of one device.
#[pin_data]
pub(crate) struct Frontend {
    dev: ARef<xenbus::Device>,
    /// Held for all steps, which the thread of xenbus and the work item take.
    #[pin]
    ends: Mutex<Ends>,
    /// Continues when a step has failed for the moment.
    #[pin]
    retry: DelayedWork<Frontend>,
    /// The entry by which sockets find the link.
    entry: devices::DeviceEntry,
    counters: Arc<Counters>,
    /// The file in debugfs that shows the counters.
    #[pin]
    _counts: debugfs::File<Arc<Counters>>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Frontend { self.retry }
}

/// Largest number of steps for one report of the backend's state. It takes two or three to settle,
/// and each further change by the backend causes another report.
const MAX_STEPS: usize = 8;

/// Time in milliseconds until steps that have failed for the moment are tried again.
const RETRY_DELAY: u32 = 1000;

impl Frontend {
    fn new(dev: &xenbus::Device) -> Result<Arc<Self>> {
        // An earlier instance of the module has left the device closed.
        dev.restart()?;
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;
        let dir = DEBUGFS.get().ok_or(ENODEV)?;
        let ends = Ends {
            is_bound: true,
            has_failed: false,
            link: None,
        };
        Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.into(),
                ends <- new_mutex!(ends, "xensock_ends"),
                retry <- new_delayed_work!("xensock_retry"),
                entry: devices::DeviceEntry::new(read_name(dev)?)?,
                _counts <- dir.read_callback_file(
                    dev.as_ref().name(),
                    counters.clone(),
                    &|counters: &Arc<Counters>, f| counters.show(f),
                ),
                counters,
            }),
            GFP_KERNEL,
        )
    }

    /// Does the steps that the states of the two ends ask for. If one fails for the moment, this
    /// happens again later: the backend has no reason to write its state once more.
    fn settle(self: &Arc<Self>) {
        let mut ends = self.ends.lock();
        if !ends.is_bound {
            return;
        }
        let dev = &*self.dev;
        let result = self.take_steps(&mut ends.link);
        if let Err(error) = result {
            let (name, peer) = (dev.as_ref().name(), dev.otherend_id());
            trace::link(name, peer, c"failed", Err(error));
        }
        match result {
            Err(error) if is_lasting(-error.to_errno()) => {
                self.take_down(&mut ends.link);
                dev.fatal(error, c"cannot connect to the backend");
            }
            Err(error) => {
                if !replace(&mut ends.has_failed, true) {
                    dev.error(error, c"cannot follow the backend for now");
                }
                self.retry_later();
            }
            Ok(()) => ends.has_failed = false,
        }
    }

    /// Queues the work item, which does the steps. Called under `ends`, while the driver is bound.
    fn retry_later(self: &Arc<Self>) {
        // An item that is queued already does it.
        let _ = workqueue::system_long()
            .enqueue_delayed::<_, 0>(self.clone(), msecs_to_jiffies(RETRY_DELAY));
    }

    fn take_steps(&self, link: &mut Option<Arc<Link>>) -> Result {
        for _ in 0..MAX_STEPS {
            if !self.step(link)? {
                break;
            }
        }
        Ok(())
    }

    /// Does one step for the state of the backend. Returns `true` if there may be more to do.
    fn step(&self, link: &mut Option<Arc<Link>>) -> Result<bool> {
        let dev = &*self.dev;
        if dev.has_vanished() {
            // The directory is that of another device.
            return Ok(false);
        }
        let other = dev.otherend_state()?;
        if other != State::Unknown {
            self.entry.expect(true);
        }
        if matches!(other, State::Reconfiguring | State::Reconfigured) {
            // Not used by this protocol, and to be ignored.
            return Ok(false);
        }
        if dev.state() == State::Initialising && link.is_some() {
            // The domain was restored, and xenbus has begun anew. No backend knows the link.
            self.take_down(link);
        }
        let action = front_next(end_state(dev.state()), end_state(other));
        match action {
            FrontAction::Ignore => {
                // Not before the link is down, whose sockets then use another device.
                if other == State::Unknown {
                    self.expect_no_more();
                }
                return Ok(false);
            }
            FrontAction::Connect => self.connect(link)?,
            FrontAction::Connected => {
                let Some(link) = &*link else {
                    return Ok(false);
                };
                let is_up = link.connect(|| {
                    dev.switch_state(State::Connected)?;
                    dev_info!(dev.as_ref(), "connected to domain {}\n", dev.otherend_id());
                    self.entry.set_link(Some(link.clone()));
                    Ok(())
                })?;
                if !is_up {
                    // The link has failed already, and the backend knows.
                    return Ok(false);
                }
                links_changed();
            }
            FrontAction::Close => {
                self.take_down(link);
                dev.switch_state(State::Closed)?;
                dev.frontend_closed();
            }
            FrontAction::Reset => {
                self.take_down(link);
                dev.switch_state(State::Initialising)?;
            }
        }
        Ok(true)
    }

    fn connect(&self, link: &mut Option<Arc<Link>>) -> Result {
        self.take_down(link);
        let dev = &*self.dev;
        let workers = Workers::of_device(read_name(dev)?)?;
        let counters = self.counters.clone();
        *link = Some(Link::new(
            dev,
            workers,
            Workers::failures()?,
            counters,
            Survivors::revive,
            links_changed,
        )?);
        dev.switch_state(State::Initialised)
    }

    /// Ends the link, if there is one. Afterwards nothing is shared with the backend.
    fn take_down(&self, link: &mut Option<Arc<Link>>) {
        if let Some(link) = link.take() {
            self.entry.set_link(None);
            link.take_down();
            // Sockets without an address use another device, if there is one.
            links_changed();
        }
    }

    /// Moves the sockets that wait for the device to another one, because the device is gone for
    /// good.
    fn expect_no_more(&self) {
        if self.entry.expect(false) {
            links_changed();
        }
    }

    /// Ends the link for good: no steps follow. May sleep.
    fn end(self: &Arc<Self>) {
        {
            let mut ends = self.ends.lock();
            ends.is_bound = false;
            self.take_down(&mut ends.link);
        }
        // Nothing queues it again.
        let _ = cancel_delayed_sync::<_, 0>(self);
        self.expect_no_more();
    }
}

impl WorkItem for Frontend {
    type Pointer = Arc<Frontend>;

    fn run(this: Arc<Frontend>) {
        this.settle();
    }
}

impl xenbus::Driver for Frontend {
    type Data<'bound> = Arc<Self>;
    const SIDE: Side = Side::Frontend;
    const ID_TABLE: xenbus::IdTable = &ID_TABLE;

    fn probe<'bound>(
        dev: &'bound xenbus::Device<Core<'_>>,
    ) -> impl PinInit<Arc<Self>, Error> + 'bound {
        pin_init::pin_init_scope(move || Ok(Self::new(dev)))
    }

    fn otherend_changed<'bound>(
        _dev: &'bound xenbus::Device<Bound>,
        data: Pin<&Arc<Self>>,
        _state: State,
    ) {
        data.settle();
    }

    fn unbind<'bound>(dev: &'bound xenbus::Device<Core<'_>>, data: Pin<&Arc<Self>>) {
        data.end();
        // The C driver of PV Calls may bind next, and does not know this node.
        let _ = dev.remove(node::NATIVE_TAKEN);
    }
}

/// Sets up lost sockets again, and makes waiting calls look for a link: a link has come, or one has
/// gone, or the expected one will not come.
fn links_changed() {
    Survivors::notify_calls();
    devices::Devices::revive();
}

/// Returns a xenbus state as the protocol's state machines have it.
fn end_state(state: State) -> EndState {
    EndState::from_number(state.number())
}
