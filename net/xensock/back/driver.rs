// SPDX-License-Identifier: GPL-2.0

//! The xenbus driver: follows the frontend through the states of the link.

use crate::{
    counters::Counters,
    directory::DEBUGFS,
    link::Link,
    log::LogLimit,
    offer::LinkOffer,
    policy::InForce,
    proto::{
        link::{
            back_next,
            is_lasting,
            BackAction,
            EndState, //
        },
        policy,
        Dialect, //
    },
    queues::Queues,
    refused::Refused,
    transport::Address, //
};
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
        trace::xensock_back as trace,
        xenbus::{
            self,
            DeviceId,
            Side,
            State,
            Watch, //
        }, //
    },
    xenbus_device_table, //
};

xenbus_device_table!(
    ID_TABLE,
    [DeviceId::new(c"xensock"), DeviceId::new(c"pvcalls")]
);

/// The part of a backend that changes with the states of the two ends.
struct Ends {
    /// `false` once the driver is unbound.
    is_bound: bool,
    /// The link, while it is up.
    link: Option<Arc<Link>>,
}

/// The backend of one device.
#[pin_data]
pub(crate) struct Backend {
    dev: ARef<xenbus::Device>,
    /// Held for all steps, which the thread of xenbus and the work item take.
    #[pin]
    ends: Mutex<Ends>,
    /// Continues when a step has failed for the moment.
    #[pin]
    retry: DelayedWork<Backend>,
    log: Arc<LogLimit>,
    policy: Arc<InForce>,
    offer: Arc<LinkOffer>,
    _watch: Watch<LinkOffer>,
    counters: Arc<Counters>,
    /// Shows how often the guest was refused, for each reason.
    #[pin]
    _refused: debugfs::File<Arc<Refused>>,
    /// Shows the counters.
    #[pin]
    _counts: debugfs::File<Arc<Counters>>,
    /// Dropped last: no work item outlives its link.
    queues: Arc<Queues>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Backend { self.retry }
}

/// Maximum number of steps for one report of the frontend's state. A link settles within two or
/// three. A frontend that keeps changing its state causes a report with each change, and must not
/// occupy the thread that all devices share.
const MAX_STEPS: usize = 8;

/// Time in milliseconds until steps that have failed for the moment are tried again.
const RETRY_DELAY: u32 = 1000;

impl Backend {
    fn new(dev: &xenbus::Device) -> Result<Arc<Self>> {
        let dialect = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
        let queues = Queues::new()?;

        if dev.state() != State::Initialising {
            dev.switch_state(State::Initialising)?;
        }
        let counters = Counters::new()?;
        let policy = InForce::new(dev, counters.sockets.clone())?;
        let offer = LinkOffer::new(dev, dialect, policy.clone())?;
        let watch = dev.watch(policy::DIR, offer.clone())?;
        offer.begin()?;
        let log = Arc::pin_init(LogLimit::new(), GFP_KERNEL)?;
        let dir = DEBUGFS.get().ok_or(ENODEV)?.subdir(dev.as_ref().name());
        let ends = Ends {
            is_bound: true,
            link: None,
        };
        Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.into(),
                ends <- new_mutex!(ends, "xensock_ends"),
                retry <- new_delayed_work!("xensock_retry"),
                log,
                _refused <- dir.read_callback_file(
                    c"refused",
                    policy.refused.clone(),
                    &|refused: &Arc<Refused>, f| refused.show(f),
                ),
                _counts <- dir.read_callback_file(
                    c"counts",
                    counters.clone(),
                    &|counters: &Arc<Counters>, f| counters.show(f),
                ),
                policy,
                offer,
                _watch: watch,
                counters,
                queues,
            }),
            GFP_KERNEL,
        )
    }

    /// Takes the steps that the states of the two ends ask for. If one fails for the moment, this
    /// happens again later: the frontend has no reason to write its state once more.
    fn settle(self: &Arc<Self>) {
        let mut ends = self.ends.lock();
        if !ends.is_bound {
            return;
        }
        for _ in 0..MAX_STEPS {
            match self.step(&mut ends.link) {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => {
                    trace::link(self.dev.otherend_id(), c"failed", Err(error));
                    if lasts(error) {
                        self.take_down(&mut ends.link);
                        let what = c"cannot serve the frontend";
                        self.log.fatal(&self.dev, error, what);
                    } else {
                        self.retry_later(error);
                    }
                    break;
                }
            }
        }
    }

    /// Has the work item take the steps. Called under `ends`, while the driver is bound.
    fn retry_later(self: &Arc<Self>, error: Error) {
        if self.log.allows() {
            let what = c"cannot follow the frontend for now";
            self.dev.error(error, what);
        }
        // Not on a queue of the device: the end of a link waits for these. An item that is queued
        // already does it.
        let _ = workqueue::system_long()
            .enqueue_delayed::<_, 0>(self.clone(), msecs_to_jiffies(RETRY_DELAY));
    }

    /// Takes the step that the state of the frontend asks for. Returns `true` if there may be
    /// another.
    fn step(&self, link: &mut Option<Arc<Link>>) -> Result<bool> {
        let dev = &*self.dev;
        if dev.has_vanished() {
            // The directory is that of another device, and not to be removed.
            return Ok(false);
        }
        let other = dev.otherend_state()?;
        if matches!(other, State::Reconfiguring | State::Reconfigured) {
            // This protocol does not use these states; they are ignored.
            return Ok(false);
        }
        let action = back_next(end_state(dev.state()), end_state(other), dev.is_online()?);
        match action {
            BackAction::Ignore => return Ok(false),
            BackAction::Offer => {
                self.take_down(link);
                if !self.offer.make()? {
                    return Ok(false);
                }
            }
            BackAction::Connect => {
                let link = match self.connect(link) {
                    Err(error) if lasts(error) => {
                        trace::link(dev.otherend_id(), c"failed", Err(error));
                        // The offer stands: the next frontend may do better.
                        if self.log.allows() {
                            dev.error(error, c"cannot connect to the frontend");
                        }
                        return Ok(false);
                    }
                    link => link?,
                };
                dev.switch_state(State::Connected)?;
                // Afterwards, as the link may fail and its state become Closing.
                link.serve();
            }
            BackAction::Recheck => {
                let address = match Address::read(dev) {
                    // The frontend has just gone; its state node is next.
                    Err(ENOENT) => return Ok(true),
                    address => address?,
                };
                if link.as_ref().map(|link| link.address()) == Some(address) {
                    return Ok(false);
                }
                self.connect(link)?.serve();
            }
            BackAction::Disconnect => {
                self.take_down(link);
                dev.switch_state(State::Closing)?;
            }
            BackAction::Close => {
                self.take_down(link);
                dev.switch_state(State::Closed)?;
            }
            BackAction::Remove => {
                self.take_down(link);
                dev.remove_own_dir()?;
                // The bus unregisters the device when its directory is gone.
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes a link, which does not serve the guest yet.
    fn connect(&self, link: &mut Option<Arc<Link>>) -> Result<Arc<Link>> {
        self.take_down(link);
        let new = Link::new(
            &self.dev,
            self.queues.clone(),
            self.log.clone(),
            self.policy.clone(),
            self.counters.clone(),
        )?;
        *link = Some(new.clone());
        self.counters.link_up();
        trace::link(self.dev.otherend_id(), c"connected", Ok(()));
        Ok(new)
    }

    /// Ends the link, if there is one. Nothing is shared with the guest afterwards.
    fn take_down(&self, link: &mut Option<Arc<Link>>) {
        if let Some(link) = link.take() {
            self.counters.link_lost();
            trace::link(link.peer(), c"lost", Ok(()));
            link.take_down();
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
    }
}

impl WorkItem for Backend {
    type Pointer = Arc<Backend>;

    fn run(this: Arc<Backend>) {
        this.settle();
    }
}

impl xenbus::Driver for Backend {
    type Data<'bound> = Arc<Self>;
    const SIDE: Side = Side::Backend;
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
        data.offer.end(dev);
    }
}

/// Converts a xenbus state to the type of the protocol's state machines.
fn end_state(state: State) -> EndState {
    EndState::from_number(state.number())
}

/// Returns `true` if the step that has failed would fail again now.
fn lasts(error: Error) -> bool {
    is_lasting(-error.to_errno())
}
