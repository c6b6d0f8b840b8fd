// SPDX-License-Identifier: GPL-2.0

//! Tests of protocol families: the family sees the calls of programs, and programs see its results.

mod keeper;

use self::keeper::{
    Keeper,
    BYTES,
    NAME,
    NUMBER,
    SOL_KEEPER, //
};

use super::{
    Ops,
    Registration,
    TypedSock, //
};

use crate::{
    bindings,
    error::to_result,
    net::{
        namespace::Namespace,
        socket::{
            Socket,
            SOCK_STREAM, //
        },
        sockopt::{
            OptionIn,
            SOL_SOCKET, //
        }, //
    },
    prelude::*,
    sync::atomic::Relaxed, //
};

// Options of `SOL_SOCKET`, see include/uapi/asm-generic/socket.h.
const SO_TYPE: i32 = 3;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_KEEPALIVE: i32 = 9;
const SO_PRIORITY: i32 = 12;
const SO_LINGER: i32 = 13;
const SO_REUSEPORT: i32 = 15;
const SO_RCVLOWAT: i32 = 18;
const SO_ACCEPTCONN: i32 = 30;

/// A socket of the family, used as the socket layer uses it.
struct User(*mut bindings::socket);

impl User {
    fn new() -> Result<Self> {
        let mut socket = core::ptr::null_mut();

        // SAFETY: `socket` is valid for writing.
        to_result(unsafe {
            bindings::sock_create_kern(
                Namespace::init().as_raw(),
                Keeper::FAMILY,
                SOCK_STREAM,
                0,
                &raw mut socket,
            )
        })?;
        Ok(Self(socket))
    }

    fn sk(&self) -> &TypedSock<Keeper> {
        // SAFETY: The socket is one of this family, and has a `struct sock` until it is dropped.
        unsafe { TypedSock::from_raw((*self.0).sk) }
    }

    fn set(&self, level: i32, name: i32, value: &[u8]) -> Result {
        // SAFETY: The socket is valid, and the value has that length.
        to_result(unsafe {
            bindings::do_sock_setsockopt(
                self.0,
                false,
                level,
                name,
                bindings::KERNEL_SOCKPTR(value.as_ptr().cast_mut().cast()),
                value.len() as c_int,
            )
        })
    }

    /// Returns the result of the call, and the length even on failure.
    fn get(&self, level: i32, name: i32, value: &mut [u8]) -> (Result, i32) {
        let mut len = value.len() as c_int;

        // SAFETY: The socket is valid, and the value has room for that length.
        let ret = to_result(unsafe {
            bindings::do_sock_getsockopt(
                self.0,
                false,
                level,
                name,
                bindings::KERNEL_SOCKPTR(value.as_mut_ptr().cast()),
                bindings::KERNEL_SOCKPTR((&raw mut len).cast()),
            )
        });
        (ret, len)
    }

    fn get_int(&self, level: i32, name: i32) -> Result<i32> {
        let mut value = [0; 4];
        match self.get(level, name, &mut value) {
            (Ok(()), 4) => Ok(i32::from_ne_bytes(value)),
            (Ok(()), _) => Err(EINVAL),
            (Err(err), _) => Err(err),
        }
    }

    fn set_int(&self, level: i32, name: i32, value: i32) -> Result {
        self.set(level, name, &value.to_ne_bytes())
    }

    fn accept(&self) -> Result<Self> {
        let mut socket = core::ptr::null_mut();

        // SAFETY: The socket is valid, and `socket` is valid for writing.
        to_result(unsafe { bindings::kernel_accept(self.0, &raw mut socket, 0) })?;
        Ok(Self(socket))
    }

    /// Returns the length of the address and its port.
    fn name(&self, peer: i32) -> Result<(i32, u16)> {
        let mut addr = [0u64; 16];

        // SAFETY: The socket is valid, and the room is that of a `struct sockaddr_storage`.
        let len = unsafe { bindings::sock_getname(self.0, addr.as_mut_ptr().cast(), peer) };
        to_result(len)?;
        let [_, _, high, low, ..] = addr[0].to_ne_bytes();
        Ok((len, u16::from_be_bytes([high, low])))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: The socket is valid, and ours.
        unsafe { bindings::sock_release(self.0) };
    }
}

#[macros::kunit_tests(rust_socket_family)]
mod suite {
    use super::*;

    #[test]
    fn options_of_the_family() -> Result {
        let _family = Registration::<Keeper>::new()?;
        let user = User::new()?;

        user.set_int(SOL_KEEPER, NUMBER, -5)?;
        assert_eq!(user.get_int(SOL_KEEPER, NUMBER), Ok(-5));
        assert_eq!(user.set(SOL_KEEPER, NUMBER, &[1, 2, 3]), Err(EINVAL));
        user.set(SOL_KEEPER, NUMBER, &[0; 100])?;
        assert_eq!(user.get_int(SOL_KEEPER, NUMBER), Ok(0));
        assert_eq!(user.set_int(SOL_KEEPER, 99, 0), Err(ENOPROTOOPT));
        Ok(())
    }

    #[test]
    fn answers_have_exact_lengths() -> Result {
        let _family = Registration::<Keeper>::new()?;
        let user = User::new()?;
        let mut value = [0xff; 16];

        assert_eq!(user.get(SOL_KEEPER, NAME, &mut value), (Ok(()), 7));
        assert_eq!(value[..8], *b"keeper\0\xff");
        value = [0xff; 16];
        assert_eq!(user.get(SOL_KEEPER, NAME, &mut value[..3]), (Ok(()), 3));
        assert_eq!(value[..4], *b"kee\xff");
        assert_eq!(user.get(SOL_KEEPER, NAME, &mut []), (Ok(()), 0));

        // The length does not change on failure.
        assert_eq!(
            user.get(SOL_KEEPER, BYTES, &mut value[..7]),
            (Err(EINVAL), 7)
        );
        assert_eq!(user.get(SOL_KEEPER, 99, &mut value), (Err(ENOPROTOOPT), 16));
        user.set(SOL_KEEPER, BYTES, b"12345678")?;
        assert_eq!(user.get(SOL_KEEPER, BYTES, &mut value), (Ok(()), 8));
        assert_eq!(value[..8], *b"12345678");
        Ok(())
    }

    #[test]
    fn options_of_all_sockets() -> Result {
        let _family = Registration::<Keeper>::new()?;
        let user = User::new()?;

        user.set_int(SOL_SOCKET, SO_KEEPALIVE, 1)?;
        assert_eq!(user.sk().data().seen.load(Relaxed), SO_KEEPALIVE);
        assert_eq!(user.get_int(SOL_SOCKET, SO_KEEPALIVE), Ok(1));

        // The generic code would refuse this option.
        user.set_int(SOL_SOCKET, SO_REUSEPORT, 1)?;
        assert_eq!(user.get_int(SOL_SOCKET, SO_REUSEPORT), Ok(1));
        assert_eq!(user.set_int(SOL_SOCKET, 9999, 1), Err(ENOPROTOOPT));

        assert_eq!(user.sk().snd_buf_asked(), None);
        assert_eq!(user.sk().rcv_buf_asked(), None);
        user.set_int(SOL_SOCKET, SO_SNDBUF, 10000)?;
        user.set_int(SOL_SOCKET, SO_RCVBUF, 20000)?;
        assert_eq!(user.sk().snd_buf_asked(), Some(10000));
        assert_eq!(user.sk().rcv_buf_asked(), Some(20000));
        assert_eq!(user.get_int(SOL_SOCKET, SO_RCVBUF), Ok(40000));
        Ok(())
    }

    #[test]
    fn half_a_socket_has_no_options() -> Result {
        // SAFETY: This is process context.
        let raw = unsafe { bindings::sock_alloc() };
        assert!(!raw.is_null());
        // SAFETY: It was allocated by `sock_alloc` just now.
        let socket = unsafe { Socket::from_raw(raw) };

        let on = 1i32.to_ne_bytes();
        assert_eq!(
            socket.set_option(SO_KEEPALIVE, &OptionIn::new(&on)),
            Err(EINVAL)
        );
        // SAFETY: It is ours.
        unsafe { bindings::sock_release(raw) };
        Ok(())
    }

    #[test]
    fn accepted_sockets_inherit() -> Result {
        let _family = Registration::<Keeper>::new()?;
        let user = User::new()?;
        let mut value = [0; 8];

        user.set_int(SOL_KEEPER, NUMBER, 7)?;
        user.set_int(SOL_SOCKET, SO_KEEPALIVE, 1)?;
        user.set_int(SOL_SOCKET, SO_REUSEPORT, 1)?;
        user.set_int(SOL_SOCKET, SO_RCVLOWAT, 17)?;
        user.set_int(SOL_SOCKET, SO_RCVBUF, 20000)?;
        user.set_int(SOL_SOCKET, SO_PRIORITY, 3)?;
        let linger = [1i32.to_ne_bytes(), 5i32.to_ne_bytes()];
        user.set(SOL_SOCKET, SO_LINGER, linger.as_flattened())?;
        // SAFETY: The socket is valid.
        to_result(unsafe { bindings::kernel_listen(user.0, 12) })?;
        assert_eq!(user.get_int(SOL_SOCKET, SO_ACCEPTCONN), Ok(1));
        assert_eq!(user.sk().max_ack_backlog(), 12);

        let child = user.accept()?;
        drop(user);
        assert_eq!(child.get_int(SOL_KEEPER, NUMBER), Ok(7));
        assert_eq!(child.get_int(SOL_SOCKET, SO_KEEPALIVE), Ok(1));
        assert_eq!(child.get_int(SOL_SOCKET, SO_REUSEPORT), Ok(1));
        assert_eq!(child.get_int(SOL_SOCKET, SO_RCVLOWAT), Ok(17));
        assert_eq!(child.get_int(SOL_SOCKET, SO_ACCEPTCONN), Ok(0));
        assert_eq!(child.get_int(SOL_SOCKET, SO_PRIORITY), Ok(0));
        assert_eq!(child.sk().rcv_buf_asked(), Some(20000));
        assert_eq!(child.sk().snd_buf_asked(), None);
        assert_eq!(child.get(SOL_SOCKET, SO_LINGER, &mut value), (Ok(()), 8));
        assert_eq!(value, *linger.as_flattened());
        assert_eq!(child.get_int(SOL_SOCKET, SO_TYPE), Ok(SOCK_STREAM));

        // The family also handles the options of its children.
        child.set_int(SOL_SOCKET, SO_REUSEPORT, 0)?;
        assert_eq!(child.get_int(SOL_SOCKET, SO_REUSEPORT), Ok(0));
        Ok(())
    }

    #[test]
    fn names() -> Result {
        let _family = Registration::<Keeper>::new()?;
        let user = User::new()?;

        assert_eq!(user.name(0), Ok((16, 1)));
        assert_eq!(user.name(1), Err(ENOTCONN));
        assert_eq!(user.name(2), Ok((16, 2)));
        Ok(())
    }

    #[test]
    fn one_registration_at_a_time() -> Result {
        let family = Registration::<Keeper>::new()?;
        assert_eq!(Registration::<Keeper>::new().err(), Some(EBUSY));
        drop(family);
        assert_eq!(User::new().err(), Some(EAFNOSUPPORT));
        drop(Registration::<Keeper>::new()?);
        Ok(())
    }
}
