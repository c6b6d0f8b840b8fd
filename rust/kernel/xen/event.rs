// SPDX-License-Identifier: GPL-2.0

//! Event channels: how the two ends of a device interrupt each other.
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
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    }, //
};

use core::ffi::c_void;

/// What an event [`Handler`] has found, and when the peer may send the next event.
///
/// An event channel stays masked from an event until the *end of interrupt* (EOI) is signalled.
/// That the driver decides when to do this, and that it tells if there was nothing to do, keeps a
/// peer from occupying our CPU with events (XSA-332).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eoi {
    /// There was something to do, and the next event may come.
    Done,

    /// There was nothing to do. If that happens again and again, then the next event is delayed,
    /// up to a second.
    Spurious,

    /// The work goes on elsewhere, and whoever finishes it calls [`EventChannel::eoi`].
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
    /// Called when the peer has sent an event, or more than one.
    ///
    /// Runs in hard interrupt context, never concurrently with itself for the same event channel,
    /// and may run before the function that made the [`EventChannel`] has returned. The first event
    /// may be one that nobody sent.
    ///
    /// What has to be done in process context can be enqueued to a workqueue, with `this` turned
    /// into an [`Arc`].
    fn handle(this: ArcBorrow<'_, Self>) -> Eoi;
}

/// An event channel between this domain and another, with its handler.
///
/// Making and dropping it may sleep, and is for process context. After it was dropped the handler
/// is not running, and will not run any more. Dropping it closes the port.
///
/// # Invariants
///
/// - `irq` is bound to an open event channel that we own, and its handler is `handle_event` for
///   `T` with `handler` as cookie.
/// - `irq` may refer to `dev`.
pub struct EventChannel<T: Handler> {
    irq: c_uint,
    port: Port,
    handler: Arc<T>,
    _dev: ARef<xenbus::Device>,
}

/// # Safety
///
/// Must only be used as a callback for `request_irq()`, and `cookie` must come from [`Arc::as_ptr`]
/// of an `Arc<T>` that exists as long as it is registered.
unsafe extern "C" fn handle_event<T: Handler>(
    irq: c_int,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: The safety requirements guarantee that `cookie` is the pointer, the same that
    // `Arc::into_raw()` returns, of an `Arc<T>` that is neither dropped nor made unique meanwhile.
    let handler = unsafe { ArcBorrow::from_raw(cookie.cast_const().cast::<T>()) };

    let flags = match T::handle(handler) {
        Eoi::Done => 0,
        Eoi::Spurious => bindings::XEN_EOI_FLAG_SPURIOUS,
        Eoi::Later => return bindings::irqreturn::IRQ_HANDLED,
    };

    // CAST: Interrupt numbers are not negative.
    //
    // SAFETY: This is the handler of an interrupt of the `lateeoi` kind, so it is bound.
    unsafe { bindings::xen_irq_lateeoi(irq as c_uint, flags) };
    bindings::irqreturn::IRQ_HANDLED
}

impl<T: Handler> EventChannel<T> {
    /// Opens a new event channel, to which only the other end of `dev` can bind.
    ///
    /// This is for the end that chooses the port, usually the frontend; the other calls
    /// [`EventChannel::bind`] with the number of the port. `name` shows up in `/proc/interrupts`.
    ///
    /// In contrast to `xenbus_alloc_evtchn()`, a failure leaves the state of the device alone.
    ///
    /// Process context, may sleep.
    pub fn alloc(
        dev: &xenbus::Device<impl DeviceContext>,
        name: &'static CStr,
        handler: Arc<T>,
    ) -> Result<Self> {
        let port = Self::open(dev.otherend_id())?;

        // SAFETY: `port` is open and not bound to an interrupt.
        let irq = unsafe { bindings::bind_evtchn_to_irq_lateeoi(port.as_raw()) };
        if irq < 0 {
            Self::close(port);
            return Err(Error::from_errno(irq));
        }
        // CAST: Just checked.
        let irq = irq as c_uint;

        // SAFETY:
        // - `handle_event` has the signature of an interrupt handler.
        // - The cookie comes from `handler`, which we own and drop only after the interrupt handler
        //   was freed.
        let ret = unsafe {
            bindings::request_irq(
                irq,
                Some(handle_event::<T>),
                0,
                name.as_char_ptr(),
                Self::cookie(&handler),
            )
        };
        if ret != 0 {
            // Unbinds the interrupt, which closes the port.
            //
            // SAFETY: `port` is bound to an interrupt that has no handler.
            unsafe { bindings::evtchn_put(port.as_raw()) };
            return Err(Error::from_errno(ret));
        }

        // INVARIANT: As made above.
        Ok(Self {
            irq,
            port,
            handler,
            _dev: dev.normal().into(),
        })
    }

    /// Binds to an event channel that the other end of `dev` has opened, as port `remote`.
    ///
    /// `remote` may come straight from the peer: the hypervisor checks that it is a port of that
    /// domain that is meant for us. `name` shows up in `/proc/interrupts`.
    ///
    /// Process context, may sleep.
    pub fn bind(
        dev: &xenbus::Device<impl DeviceContext>,
        remote: Port,
        name: &'static CStr,
        handler: Arc<T>,
    ) -> Result<Self> {
        let dev = ARef::from(dev.normal());

        // SAFETY:
        // - `dev` is a valid device, and stays so until the interrupt is unbound since we keep a
        //   reference.
        // - `handle_event` has the signature of an interrupt handler.
        // - The cookie comes from `handler`, which we own and drop only after the interrupt handler
        //   was freed.
        let irq = unsafe {
            bindings::bind_interdomain_evtchn_to_irqhandler_lateeoi(
                dev.as_raw(),
                remote.as_raw(),
                Some(handle_event::<T>),
                0,
                name.as_char_ptr(),
                Self::cookie(&handler),
            )
        };
        if irq < 0 {
            return Err(Error::from_errno(irq));
        }

        // INVARIANT: As made above.
        Ok(Self {
            // CAST: Just checked.
            irq: irq as c_uint,
            port: remote,
            handler,
            _dev: dev,
        })
    }

    /// Opens an unbound port for domain `remote`.
    fn open(remote: DomId) -> Result<Port> {
        let mut op = bindings::evtchn_alloc_unbound {
            // CAST: It is a domain number.
            dom: bindings::DOMID_SELF as bindings::domid_t,
            remote_dom: remote.as_raw(),
            port: 0,
        };

        // SAFETY: `op` is what the operation takes, and is valid for reading and writing.
        to_result(unsafe {
            bindings::HYPERVISOR_event_channel_op(
                // CAST: It is a small number.
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

        // That can only fail for a port that isn't open.
        //
        // SAFETY: `op` is what the operation takes, and is valid for reading.
        let _ = unsafe {
            bindings::HYPERVISOR_event_channel_op(
                // CAST: It is a small number.
                bindings::EVTCHNOP_close as c_int,
                (&raw mut op).cast(),
            )
        };
    }

    /// Returns the cookie of the interrupt handler.
    fn cookie(handler: &Arc<T>) -> *mut c_void {
        Arc::as_ptr(handler).cast_mut().cast()
    }

    /// Returns the number of the port that was opened, by [`EventChannel::alloc`] or by the peer.
    ///
    /// It is what the two ends tell each other, and belongs to the domain that called `alloc`.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Returns the handler.
    #[inline]
    pub fn handler(&self) -> &Arc<T> {
        &self.handler
    }

    /// Sends an event to the peer. Nothing happens if it has gone.
    ///
    /// May be called from any context, and doesn't sleep. It is a hypercall.
    #[inline]
    pub fn notify(&self) {
        // CAST: It was a `c_int` at first.
        //
        // SAFETY: By the type invariant, `irq` is bound to an event channel.
        unsafe { bindings::notify_remote_via_irq(self.irq as c_int) };
    }

    /// Lets the next event come, after the handler has returned [`Eoi::Later`].
    ///
    /// `spurious` tells that there was nothing to do, see [`Eoi::Spurious`]. An unneeded call does
    /// no harm, but takes the protection from the event that it lets in.
    ///
    /// May be called from any context, and doesn't sleep.
    #[inline]
    pub fn eoi(&self, spurious: bool) {
        let flags = if spurious {
            bindings::XEN_EOI_FLAG_SPURIOUS
        } else {
            0
        };

        // SAFETY: By the type invariant, `irq` is bound, with one of the `lateeoi` functions.
        unsafe { bindings::xen_irq_lateeoi(self.irq, flags) };
    }
}

impl<T: Handler> Drop for EventChannel<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `irq` is bound, and has a handler with this cookie. Waits
        // for the handler to return.
        unsafe { bindings::unbind_from_irqhandler(self.irq, Self::cookie(&self.handler)) };
    }
}
