// SPDX-License-Identifier: GPL-2.0

//! The xenbus driver: follows the frontend through the states of the link.

use crate::{
    account::Account,
    directory::DEBUGFS,
    guest::{
        Address,
        Guest,
        OFFERED, //
    },
    log::LogLimit,
    policy::InForce,
    proto::{
        link::{
            back_next,
            back_probe,
            BackAction,
            State as Step, //
        },
        node,
        policy,
        Dialect,
        Feature, //
    },
    refused::Refused, //
};
use kernel::{
    debugfs,
    device::{
        Bound,
        Core, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    workqueue::owned::{
        OwnedQueue,
        WqFlag, //
    },
    xen::{
        trace::xensock_back as trace,
        xenbus::{
            self,
            DeviceId,
            Side,
            State,
            Verdict,
            Watch, //
        }, //
    },
    xenbus_device_table, //
};

xenbus_device_table!(
    ID_TABLE,
    [DeviceId::new(c"xensock"), DeviceId::new(c"pvcalls")]
);

/// The backend of one device.
#[pin_data]
pub(crate) struct Backend {
    /// The link, while it is up.
    #[pin]
    guest: Mutex<Option<Arc<Guest>>>,
    log: Arc<LogLimit>,
    policy: Arc<InForce>,
    _watch: Watch<InForce>,
    account: Arc<Account>,
    /// Shows how often the guest was refused something.
    #[pin]
    _refused: debugfs::File<Arc<Refused>>,
    /// Shows the account.
    #[pin]
    _counts: debugfs::File<Arc<Account>>,
    /// Dropped last: no work item outlives its guest.
    queue: Arc<OwnedQueue>,
}

/// How many steps are taken for one report of the frontend's state. It takes two or three to settle;
/// a frontend that keeps changing its state causes a report with each change, and must not keep the
/// thread that all devices share.
const MAX_STEPS: usize = 8;

/// How many threads of the backend domain work for a guest at a time. Each of its sockets can always
/// have something to do, and what one guest has to do must not be all that this domain does.
const MAX_WORKERS: u16 = 4;

impl Backend {
    /// Does what the state of the frontend asks for. Returns whether there is more to do.
    fn step(&self, dev: &xenbus::Device<Bound>) -> Result<bool> {
        let other = dev.otherend_state();
        if matches!(other, State::Reconfiguring | State::Reconfigured) {
            // Not used by this protocol, and to be ignored.
            return Ok(false);
        }
        let action = back_next(step(dev.state()), step(other), dev.is_online());
        match action {
            BackAction::Ignore => return Ok(false),
            BackAction::Offer => {
                self.take_down();
                offer(dev, &self.policy)?;
            }
            BackAction::Connect => {
                if let Err(error) = self.connect(dev) {
                    trace::link(dev.otherend_id(), c"failed", Err(error));
                    // The offer stands: the next frontend may do better.
                    if self.log.allows() {
                        dev.error(error, c"cannot connect to the frontend");
                    }
                    return Ok(false);
                }
                dev.switch_state(State::Connected)?;
            }
            BackAction::Recheck => {
                let address = match Address::read(dev) {
                    // It has just died: its state is the next to go.
                    Err(ENOENT) => return Ok(true),
                    address => address?,
                };
                if self.guest.lock().as_ref().map(|g| g.address) == Some(address) {
                    return Ok(false);
                }
                self.connect(dev)?;
            }
            BackAction::Disconnect => {
                self.take_down();
                dev.switch_state(State::Closing)?;
            }
            BackAction::Close => {
                self.take_down();
                dev.switch_state(State::Closed)?;
            }
            BackAction::Remove => {
                self.take_down();
                dev.remove_own_dir()?;
                // The bus unregisters the device for that.
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn connect(&self, dev: &xenbus::Device<Bound>) -> Result {
        self.take_down();
        let guest = Guest::new(
            dev,
            self.queue.clone(),
            self.log.clone(),
            self.policy.clone(),
            self.account.clone(),
        )?;
        *self.guest.lock() = Some(guest);
        self.account.link_up();
        trace::link(dev.otherend_id(), c"connected", Ok(()));
        Ok(())
    }

    /// Ends the link, if there is one: afterwards nothing is shared with the guest.
    fn take_down(&self) {
        let guest = self.guest.lock().take();
        if let Some(guest) = guest {
            self.account.link_lost();
            trace::link(guest.dev.otherend_id(), c"lost", Ok(()));
            guest.take_down();
        }
    }
}

/// Writes what we offer.
fn offer(dev: &xenbus::Device<Bound>, policy: &InForce) -> Result {
    let dialect = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
    let order = policy.get().max_ring_order().get();
    let order = match dialect {
        Dialect::XenSock => order,
        // With less there is no link at all. The policy still refuses such rings.
        Dialect::PvCalls => order.max(node::PVCALLS_PAGE_ORDER),
    };
    dev.transaction(|t| {
        t.write(node::VERSIONS, fmt!("1"))?;
        t.write(node::MAX_PAGE_ORDER, fmt!("{order}"))?;
        if dialect == Dialect::PvCalls {
            t.write(node::FUNCTION_CALLS, fmt!("{}", node::ALL_CALLS))?;
            t.write(node::NATIVE_OFFERED, fmt!("1"))?;
        }
        for feature in Feature::ALL {
            let has = u32::from(OFFERED.has(feature));
            t.write(feature.offered(), fmt!("{has}"))?;
        }
        Ok(())
    })?;
    dev.switch_state(State::InitWait)
}

impl xenbus::Driver for Backend {
    type Data<'bound> = Self;
    const SIDE: Side = Side::Backend;
    const ID_TABLE: xenbus::IdTable = &ID_TABLE;

    fn probe<'bound>(dev: &'bound xenbus::Device<Core<'_>>) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dialect = Dialect::from_device_name(dev.devicetype()).ok_or(ENODEV)?;
            let queue = OwnedQueue::new(c"xensock_back", WqFlag::Unbound, MAX_WORKERS)?;
            let queue = Arc::new(queue, GFP_KERNEL)?;

            if dev.state() != State::Initialising {
                dev.switch_state(State::Initialising)?;
            }
            let account = Account::new()?;
            let policy = InForce::new(dev.normal(), account.sockets.clone())?;
            let watch = dev.watch(policy::DIR, policy.clone())?;
            if back_probe(dialect) == BackAction::Offer {
                offer(dev, &policy)?;
            }
            let log = Arc::pin_init(LogLimit::new(), GFP_KERNEL)?;
            let dir = DEBUGFS.get().ok_or(ENODEV)?.subdir(dev.as_ref().name());
            Ok(try_pin_init!(Self {
                guest <- new_mutex!(None, "xensock_guest"),
                log,
                _refused <- dir.read_callback_file(
                    c"refused",
                    policy.refused.clone(),
                    &|refused: &Arc<Refused>, f| refused.show(f),
                ),
                _counts <- dir.read_callback_file(
                    c"counts",
                    account.clone(),
                    &|account: &Arc<Account>, f| account.show(f),
                ),
                policy,
                _watch: watch,
                account,
                queue,
            }))
        })
    }

    fn otherend_changed<'bound>(
        dev: &'bound xenbus::Device<Bound>,
        data: Pin<&Self>,
        _state: State,
    ) -> Verdict {
        for _ in 0..MAX_STEPS {
            match data.step(dev) {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => {
                    data.take_down();
                    trace::link(dev.otherend_id(), c"failed", Err(error));
                    data.log.fatal(dev, error, c"cannot serve the frontend");
                    break;
                }
            }
        }
        Verdict::Keep
    }

    fn unbind<'bound>(dev: &'bound xenbus::Device<Core<'_>>, data: Pin<&Self>) {
        data.take_down();
        // The C driver of PV Calls, which may be the next, does not know of it.
        let _ = dev.remove(node::NATIVE_OFFERED);
    }
}

/// A xenbus state, as the protocol's state machines have it.
fn step(state: State) -> Step {
    Step::from_number(state.number())
}
