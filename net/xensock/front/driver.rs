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
            EndState,
            FrontAction, //
        },
        node, //
    },
    survivors::Survivors,
    transport::read_name,
    workers::Workers, //
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

/// The frontend of one device.
#[pin_data]
pub(crate) struct Frontend {
    /// The link, from `Initialised` on.
    #[pin]
    link: Mutex<Option<Arc<Link>>>,
    /// The entry by which sockets find the link.
    entry: devices::DeviceEntry,
    counters: Arc<Counters>,
    /// The file in debugfs that shows the counters.
    #[pin]
    _counts: debugfs::File<Arc<Counters>>,
}

/// Largest number of steps for one report of the backend's state. It takes two or three to settle,
/// and each further change by the backend causes another report.
const MAX_STEPS: usize = 8;

impl Frontend {
    /// Does one step for the state of the backend. Returns `true` if there may be more to do.
    fn step(&self, dev: &xenbus::Device<Bound>) -> Result<bool> {
        let other = dev.otherend_state();
        if matches!(other, State::Reconfiguring | State::Reconfigured) {
            // Not used by this protocol, and to be ignored.
            return Ok(false);
        }
        let action = front_next(end_state(dev.state()), end_state(other));
        match action {
            FrontAction::Ignore => return Ok(false),
            FrontAction::Connect => self.connect(dev)?,
            FrontAction::Connected => {
                let Some(link) = self.link.lock().clone() else {
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
                self.take_down();
                dev.frontend_closed();
            }
            FrontAction::Reset => {
                self.take_down();
                dev.switch_state(State::Initialising)?;
            }
        }
        Ok(true)
    }

    fn connect(&self, dev: &xenbus::Device<Bound>) -> Result {
        self.take_down();
        let workers = Workers::of_device(read_name(dev)?)?;
        let counters = self.counters.clone();
        let link = Link::new(
            dev,
            workers,
            Workers::failures()?,
            counters,
            Survivors::revive,
            links_changed,
        )?;
        *self.link.lock() = Some(link);
        dev.switch_state(State::Initialised)
    }

    /// Ends the link, if there is one. Afterwards nothing is shared with the backend.
    fn take_down(&self) {
        let link = self.link.lock().take();
        if let Some(link) = link {
            self.entry.set_link(None);
            link.take_down();
            // Sockets without an address use another device, if there is one.
            links_changed();
        }
    }

    /// Has the sockets that wait for the device use another one, because the device is gone for
    /// good.
    fn expect_no_more(&self) {
        if self.entry.expect(false) {
            links_changed();
        }
    }
}

impl xenbus::Driver for Frontend {
    type Data<'bound> = Self;
    const SIDE: Side = Side::Frontend;
    const ID_TABLE: xenbus::IdTable = &ID_TABLE;

    fn probe<'bound>(dev: &'bound xenbus::Device<Core<'_>>) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            // An earlier instance of the module has left the device closed.
            if dev.state() != State::Initialising {
                dev.switch_state(State::Initialising)?;
            }
            let counters = Arc::new(Counters::new(), GFP_KERNEL)?;
            let dir = DEBUGFS.get().ok_or(ENODEV)?;
            Ok(try_pin_init!(Self {
                link <- new_mutex!(None, "xensock_link"),
                entry: devices::DeviceEntry::new(read_name(dev)?)?,
                _counts <- dir.read_callback_file(
                    dev.as_ref().name(),
                    counters.clone(),
                    &|counters: &Arc<Counters>, f| counters.show(f),
                ),
                counters,
            }))
        })
    }

    fn otherend_changed<'bound>(
        dev: &'bound xenbus::Device<Bound>,
        data: Pin<&Self>,
        _state: State,
    ) {
        if dev.otherend_state() != State::Unknown {
            data.entry.expect(true);
        }
        for _ in 0..MAX_STEPS {
            match data.step(dev) {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => {
                    data.take_down();
                    trace::link(
                        dev.as_ref().name(),
                        dev.otherend_id(),
                        c"failed",
                        Err(error),
                    );
                    dev.fatal(error, c"cannot connect to the backend");
                    break;
                }
            }
        }
        if dev.otherend_state() == State::Unknown {
            data.expect_no_more();
        }
    }

    fn unbind<'bound>(dev: &'bound xenbus::Device<Core<'_>>, data: Pin<&Self>) {
        data.take_down();
        data.expect_no_more();
        // The C driver of PV Calls may bind next, and does not know this node.
        let _ = dev.remove(node::NATIVE_TAKEN);
    }
}

/// Has lost sockets set up again, and has waiting calls look for a link: a link has come, or one
/// has gone, or the expected one will not come.
fn links_changed() {
    Survivors::notify_calls();
    devices::Devices::revive();
}

/// Returns a xenbus state as the protocol's state machines have it.
fn end_state(state: State) -> EndState {
    EndState::from_number(state.number())
}
