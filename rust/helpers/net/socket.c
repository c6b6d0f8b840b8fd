// SPDX-License-Identifier: GPL-2.0

#include <linux/net.h>
#include <linux/poll.h>
#include <net/sock.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

/* Casts keep bindgen from seeing these: rust/kernel/net/family.rs repeats them. */
static_assert((__force u32)EPOLLIN == 0x0001);
static_assert((__force u32)EPOLLPRI == 0x0002);
static_assert((__force u32)EPOLLOUT == 0x0004);
static_assert((__force u32)EPOLLERR == 0x0008);
static_assert((__force u32)EPOLLHUP == 0x0010);
static_assert((__force u32)EPOLLRDNORM == 0x0040);
static_assert((__force u32)EPOLLRDBAND == 0x0080);
static_assert((__force u32)EPOLLWRNORM == 0x0100);
static_assert((__force u32)EPOLLWRBAND == 0x0200);
static_assert((__force u32)EPOLLRDHUP == 0x2000);

__rust_helper void rust_helper_sock_poll_wait(struct file *filp, struct socket *sock,
					      poll_table *p)
{
	sock_poll_wait(filp, sock, p);
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */
