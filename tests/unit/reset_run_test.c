// SPDX-License-Identifier: GPL-2.0-only
/* A slice of a reset whose probe the program hands back, without a raw socket to send it by. */
#include <errno.h>
#include <sys/socket.h>

#include <bpf/bpf.h>

#include "check.h"
#include "reset_run.h"

static int socket_error; /* 0: there is one, a socket pair's end that takes anything */

/* In libbpf's place: the program knows no way to the client. */
int bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts)
{
	memset(opts->data_out, 0, opts->data_size_in);
	opts->data_size_out = opts->data_size_in;
	opts->retval = 1;
	return 0;
}

/* In libc's place. */
int socket(int domain, int type, int protocol)
{
	int pair[2];

	CHECK_INT(type & SOCK_RAW, SOCK_RAW);
	if (socket_error) {
		errno = socket_error;
		return -1;
	}
	return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) ? -1 : pair[0];
}

TEST(a_raw_socket_that_is_refused_is_no_secret)
{
	struct reset_run run = {.raw4 = -1, .raw6 = -1};
	struct sl_reset job = {0};

	CHECK_INT(reset_run_slice(&run, &job, 0), 0);
	CHECK_INT(run.raw_error, 0);
	CHECK(run.raw4 >= 0);
	socket_error = EPERM;
	CHECK_INT(reset_run_slice(&run, &job, 0), 0); /* it is open */
	CHECK_INT(run.raw_error, 0);
	CHECK_INT(reset_run_slice(&run, &job, 1), 0); /* the walk goes on */
	CHECK_INT(run.raw_error, -EPERM);
	CHECK_INT(run.raw6, -1);
	reset_run_done(&run);
}
