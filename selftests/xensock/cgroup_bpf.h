/* SPDX-License-Identifier: GPL-2.0 */
/*
 * BPF programs for a control group of the test's own, written instruction by instruction: neither a
 * compiler nor a library is needed.
 */
#ifndef XENSOCK_SELFTEST_CGROUP_BPF_H
#define XENSOCK_SELFTEST_CGROUP_BPF_H

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

#define INSN(CODE, DST, SRC, OFF, IMM) \
	((struct bpf_insn) { .code = (CODE), .dst_reg = (DST), .src_reg = (SRC), \
			     .off = (OFF), .imm = (IMM) })

#define MOV(DST, IMM)		INSN(BPF_ALU64 | BPF_MOV | BPF_K, DST, 0, 0, IMM)
#define MOV_REG(DST, SRC)	INSN(BPF_ALU64 | BPF_MOV | BPF_X, DST, SRC, 0, 0)
#define ADD(DST, IMM)		INSN(BPF_ALU64 | BPF_ADD | BPF_K, DST, 0, 0, IMM)
#define LOAD(DST, SRC, OFF)	INSN(BPF_LDX | BPF_MEM | BPF_W, DST, SRC, OFF, 0)
#define STORE(DST, OFF, SRC)	INSN(BPF_STX | BPF_MEM | BPF_W, DST, SRC, OFF, 0)
#define STORE_IMM(DST, OFF, IMM) INSN(BPF_ST | BPF_MEM | BPF_W, DST, 0, OFF, IMM)
/* Skips N instructions unless the low 32 bits of the register are IMM. */
#define SKIP_UNLESS(REG, IMM, N) INSN(BPF_JMP32 | BPF_JNE | BPF_K, REG, 0, N, IMM)
#define SKIP_IF_ZERO(REG, N)	INSN(BPF_JMP | BPF_JEQ | BPF_K, REG, 0, N, 0)
#define CALL(FUNC)		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, FUNC)
#define LOAD_MAP(DST, FD)	INSN(BPF_LD | BPF_IMM | BPF_DW, DST, BPF_PSEUDO_MAP_FD, 0, FD), \
				INSN(0, 0, 0, 0, 0)
#define ATOMIC_ADD(DST, SRC)	INSN(BPF_STX | BPF_ATOMIC | BPF_W, DST, SRC, 0, BPF_ADD)
#define EXIT			INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static inline int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

/* A control group. This process is in it from cgroup_open() to cgroup_close(). */
struct cgroup {
	char mount[64];
	char path[96];
	int fd;
};

static inline int enter(const char *path)
{
	char procs[128];
	int fd, error = 0;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	fd = open(procs, O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) != 1)
		error = errno;
	close(fd);
	return error;
}

/* Returns 0 or the errno of the step that failed. */
static inline int cgroup_open(struct cgroup *cgroup)
{
	snprintf(cgroup->mount, sizeof(cgroup->mount), "/tmp/cgroup-%d", getpid());
	snprintf(cgroup->path, sizeof(cgroup->path), "%s/xensock-%d", cgroup->mount, getpid());
	if (mkdir(cgroup->mount, 0700) || mount("none", cgroup->mount, "cgroup2", 0, NULL) ||
	    mkdir(cgroup->path, 0700))
		return errno;
	cgroup->fd = open(cgroup->path, O_RDONLY | O_DIRECTORY);
	return cgroup->fd < 0 ? errno : enter(cgroup->path);
}

static inline void cgroup_close(struct cgroup *cgroup)
{
	close(cgroup->fd);
	enter(cgroup->mount);
	rmdir(cgroup->path);
	umount2(cgroup->mount, MNT_DETACH);
	rmdir(cgroup->mount);
}

/* Attaches a program, which is freed with the control group. Returns 0 or an errno. */
static inline int attach_program(const struct cgroup *cgroup, __u32 type, __u32 where,
				 const struct bpf_insn *insns, size_t count)
{
	static char log[1 << 16];
	union bpf_attr load = {
		.prog_type = type,
		.expected_attach_type = where,
		.insns = (uintptr_t)insns,
		.insn_cnt = count,
		.license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	union bpf_attr attach = { .target_fd = cgroup->fd, .attach_type = where };
	int fd = bpf(BPF_PROG_LOAD, &load), error = 0;

	if (fd < 0) {
		error = errno;
		if (log[0])
			ksft_print_msg("%s\n", log);
		return error;
	}
	attach.attach_bpf_fd = fd;
	if (bpf(BPF_PROG_ATTACH, &attach))
		error = errno;
	close(fd);
	return error;
}

#define ATTACH(CGROUP, TYPE, WHERE, ...) ({ \
	const struct bpf_insn insns_[] = { __VA_ARGS__ }; \
	attach_program(CGROUP, BPF_PROG_TYPE_ ## TYPE, BPF_ ## WHERE, insns_, \
		       ARRAY_LEN(insns_)); \
})

/* Makes a counter that programs add to. Returns its file or -1. */
static inline int open_count(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = 4,
		.max_entries = 1,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

static inline int read_count(int fd)
{
	__u32 key = 0, value = -1;
	union bpf_attr attr = {
		.map_fd = fd,
		.key = (uintptr_t)&key,
		.value = (uintptr_t)&value,
	};

	return bpf(BPF_MAP_LOOKUP_ELEM, &attr) ? -1 : (int)value;
}

#endif
