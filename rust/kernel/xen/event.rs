// SPDX-License-Identifier: GPL-2.0

//! Event channels: interrupts between the two ends of a device.
//!
//! C header: [`include/xen/events.h`](srctree/include/xen/events.h)

use super::{
    xenbus,
    DomId,
    Port, //
};

use crate::{
    bindings,
    device::DeviceContext,
    error::to_result,
    new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    }, //
};

use core::ffi::c_void;

/// The result of an event [`Handler`], which also decides when the peer may send the next event.
///
/// After an event, an event channel stays masked until the *end of interrupt* (EOI) is signalled.
/// The driver decides when to signal it and reports if there was nothing to do; this keeps a peer
/// from occupying our CPU with events (XSA-332).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eoi {
    /// The handler has found work; the next event may come.
    Done,

    /// The handler has found nothing to do. If this happens repeatedly, the next event is delayed
    /// by a few milliseconds, see `xen_irq_lateeoi_locked()`.
    Spurious,

    /// The work continues elsewhere, and the code that finishes it calls [`EventChannel::eoi`].
    Later,
}

/// The handler of an event channel.
///
/// # Examples
///
/// ```
/// use kernel::{
///     sync::{
///         ArcBorrow,
///         Completion, //
///     },
///     xen::event::{
///         Eoi,
///         Handler, //
///     }, //
/// };
///
/// #[pin_data]
/// struct Wakeup {
///     #[pin]
///     completion: Completion,
/// }
///
/// impl Handler for Wakeup {
///     fn handle(this: ArcBorrow<'_, Self>) -> Eoi {
///         this.completion.complete_all();
///         Eoi::Done
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Called after the peer has sent one or more events.
    ///
    /// Runs in hard interrupt context, never concurrently with itself for the same event channel.
    /// May run before the function that creates the [`EventChannel`] has returned. The first call
    /// may come without an event from the peer.
    ///
    /// A handler can enqueue work for process context to a workqueue, with `this` converted to an
    /// [`Arc`].
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi;
}

/// An event channel between this domain and another, with its handler.
///
/// Creating and dropping it may sleep, and requires process context. Dropping it closes the port;
/// after that the handler is not running and is never called again.
///
/// # Invariants
///
/// - `irq` is bound to an open event channel that we own, and its handler is `handle_event` for `T`
///   with `receiver` as cookie.
/// - The binding of `irq` may refer to `_dev`, which outlives it.
pub struct EventChannel<T: Handler> {
    irq: c_uint,
    port: Port,
    receiver: Arc<Receiver<T>>,
    _dev: ARef<xenbus::Device>,
}

/// The cookie of an interrupt handler.
#[pin_data]
struct Receiver<T: Handler> {
    handler: Arc<T>,
    /// Held while an EOI is signalled: `xen_irq_lateeoi()` must not run twice at a time for an event
    /// channel, or it could enter it twice in its list of delayed EOIs.
    #[pin]
    ending: SpinLockIrq<()>,
}

impl<T: Handler> Receiver<T> {
    fn new(handler: Arc<T>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                handler,
                ending <- new_spinlock_irq!((), "xen_eoi"),
            }),
            GFP_KERNEL,
        )
    }

    /// Signals the EOI of the event channel.
    ///
    /// # Safety
    ///
    /// `irq` must be bound by one of the `lateeoi` functions, with this object as the cookie.
    unsafe fn end(&self, irq: c_uint, spurious: bool) {
        let flags = if spurious {
            bindings::XEN_EOI_FLAG_SPURIOUS
        } else {
            0
        };
        let _ending = self.ending.lock();

        // SAFETY: By the safety requirements, `irq` is bound as a `lateeoi` interrupt. All calls for
        // it hold the lock of this object.
        unsafe { bindings::xen_irq_lateeoi(irq, flags) };
    }
}

/// # Safety
///
/// Must only be used as a callback for `request_irq()` of a `lateeoi` interrupt, with a `cookie` from
/// [`Arc::as_ptr`] of an `Arc<Receiver<T>>` that exists as long as the callback is registered.
unsafe extern "C" fn handle_event<T: Handler>(
    irq: c_int,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: The safety requirements guarantee that `cookie` points into an `Arc` that is not
    // dropped during this call. Nobody has a mutable reference to a shared `Receiver`.
    let receiver = unsafe { &*cookie.cast_const().cast::<Receiver<T>>() };

    let spurious = match T::handle(receiver.handler.as_arc_borrow()) {
        Eoi::Done => false,
        Eoi::Spurious => true,
        Eoi::Later => return bindings::irqreturn::IRQ_HANDLED,
    };

    // CAST: Interrupt numbers are not negative.
    //
    // SAFETY: `irq` is bound as a `lateeoi` interrupt with this cookie, since this is its handler.
    unsafe { receiver.end(irq as c_uint, spurious) };
    bindings::irqreturn::IRQ_HANDLED
}

impl<T: Handler> EventChannel<T> {
    /// Opens a new event channel to which only the other end of `dev` can bind.
    ///
    /// For the end that chooses the port, usually the frontend; the other end calls
    /// [`EventChannel::bind`] with this port. `name` is shown in `/proc/interrupts`.
    ///
    /// In contrast to `xenbus_alloc_evtchn()`, a failure does not change the state of the device.
    ///
    /// Process context, may sleep.
    pub fn alloc(
        dev: &xenbus::Device<impl DeviceContext>,
        name: &'static CStr,
        handler: Arc<T>,
    ) -> Result<Self> {
        let receiver = Receiver::new(handler)?;
        let port = Self::open(dev.otherend_id())?;

        // SAFETY: `port` is open and not bound to an interrupt.
        let irq = unsafe { bindings::bind_evtchn_to_irq_lateeoi(port.as_raw()) };
        if irq < 0 {
            Self::close(port);
            return Err(Error::from_errno(irq));
        }
        // CAST: Checked above not to be negative.
        let irq = irq as c_uint;

        // SAFETY:
        // - `handle_event` has the signature of an interrupt handler.
        // - The cookie comes from `receiver`, which we own and drop only after the interrupt handler
        //   has been freed.
        let ret = unsafe {
            bindings::request_irq(
                irq,
                Some(handle_event::<T>),
                0,
                name.as_char_ptr(),
                Self::cookie(&receiver),
            )
        };
        if ret != 0 {
            // Unbinds the interrupt, which also closes the port.
            //
            // SAFETY: `port` is bound to an interrupt that has no handler.
            unsafe { bindings::evtchn_put(port.as_raw()) };
            return Err(Error::from_errno(ret));
        }

        // INVARIANT: The code above bound `irq` and set its handler.
        Ok(Self {
            irq,
            port,
            receiver,
            _dev: dev.normal().into(),
        })
    }

    /// Binds to an event channel that the other end of `dev` has opened as port `remote`.
    ///
    /// `remote` may come straight from the peer: the hypervisor checks that it is a port of that
    /// domain that is open for us. `name` is shown in `/proc/interrupts`.
    ///
    /// Process context, may sleep.
    pub fn bind(
        dev: &xenbus::Device<impl DeviceContext>,
        remote: Port,
        name: &'static CStr,
        handler: Arc<T>,
    ) -> Result<Self> {
        let receiver = Receiver::new(handler)?;
        let dev = ARef::from(dev.normal());

        // SAFETY:
        // - `dev` is a valid device, and stays valid until the interrupt is unbound since we keep a
        //   reference.
        // - `handle_event` has the signature of an interrupt handler.
        // - The cookie comes from `receiver`, which we own and drop only after the interrupt handler
        //   has been freed.
        let irq = unsafe {
            bindings::bind_interdomain_evtchn_to_irqhandler_lateeoi(
                dev.as_raw(),
                remote.as_raw(),
                Some(handle_event::<T>),
                0,
                name.as_char_ptr(),
                Self::cookie(&receiver),
            )
        };
        if irq < 0 {
            return Err(Error::from_errno(irq));
        }

        // INVARIANT: The code above bound `irq` and set its handler.
        Ok(Self {
            // CAST: Checked above not to be negative.
            irq: irq as c_uint,
            port: remote,
            receiver,
            _dev: dev,
        })
    }

    /// Opens an unbound port for domain `remote`.
    fn open(remote: DomId) -> Result<Port> {
        let mut op = bindings::evtchn_alloc_unbound {
            // CAST: A domain number.
            dom: bindings::DOMID_SELF as bindings::domid_t,
            remote_dom: remote.as_raw(),
            port: 0,
        };

        // SAFETY: `op` is the argument type of this operation, and is valid for reading and
        // writing.
        to_result(unsafe {
            bindings::HYPERVISOR_event_channel_op(
                // CAST: A small number.
                bindings::EVTCHNOP_alloc_unbound as c_int,
                (&raw mut op).cast(),
            )
        })?;
        Ok(Port(op.port))
    }

    /// Closes a port that is not bound to an interrupt.
    fn close(port: Port) {
        let mut op = bindings::evtchn_close {
            port: port.as_raw(),
        };

        // This can only fail for a port that isn't open.
        //
        // SAFETY: `op` is the argument type of this operation, and is valid for reading.
        let _ = unsafe {
            bindings::HYPERVISOR_event_channel_op(
                // CAST: A small number.
                bindings::EVTCHNOP_close as c_int,
                (&raw mut op).cast(),
            )
        };
    }

    /// Returns the cookie of the interrupt handler.
    fn cookie(receiver: &Arc<Receiver<T>>) -> *mut c_void {
        Arc::as_ptr(receiver).cast_mut().cast()
    }

    /// Returns the port that [`EventChannel::alloc`] or the peer has opened.
    ///
    /// The two ends identify the event channel by this number, which belongs to the domain that
    /// called `alloc`.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Returns the handler.
    #[inline]
    pub fn handler(&self) -> &Arc<T> {
        &self.receiver.handler
    }

    /// Sends an event to the peer. Does nothing if the peer has gone.
    ///
    /// May be called from any context, and doesn't sleep. Makes a hypercall.
    #[inline]
    pub fn notify(&self) {
        // CAST: Converted from a `c_int` when it was bound.
        //
        // SAFETY: By the type invariant, `irq` is bound to an event channel.
        unsafe { bindings::notify_remote_via_irq(self.irq as c_int) };
    }

    /// Allows the next event, after the handler has returned [`Eoi::Later`].
    ///
    /// `spurious` reports that there was nothing to do, see [`Eoi::Spurious`]. An unneeded call is
    /// harmless, but lets one event in without the protection.
    ///
    /// May be called from any context, and doesn't sleep. Takes an innermost spinlock.
    #[inline]
    pub fn eoi(&self, spurious: bool) {
        // SAFETY: By the type invariant, `irq` is bound with `receiver` as cookie; both `alloc` and
        // `bind` use the `lateeoi` functions.
        unsafe { self.receiver.end(self.irq, spurious) };
    }
}

impl<T: Handler> Drop for EventChannel<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `irq` is bound and has a handler with this cookie. This
        // call waits for the handler to return.
        unsafe { bindings::unbind_from_irqhandler(self.irq, Self::cookie(&self.receiver)) };
    }
}
