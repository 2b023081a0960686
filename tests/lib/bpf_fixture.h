/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A datapath of one's own for each test case: the programs loaded, nothing
 * pinned, nothing attached, the maps filled as the agent fills them, packets
 * sent through with BPF_PROG_TEST_RUN.
 *
 * Lines of packet.h may use names instead of addresses, so that one line tests
 * both families: client, client2, vip, vip2, r1 .. r4, node, other.
 */
#ifndef SLUICE_TEST_BPF_FIXTURE_H
#define SLUICE_TEST_BPF_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/abi.h>

#include "index.h"
#include "packet.h"
#include "ranges.h"
#include "sluice.skel.h"

/* Verdicts. */
#define NEXT (-1)
#define SHOT 2
#define REDIRECT 7
/* REDIRECT of a packet that was made shorter: runs without CHECKSUM_COMPLETE, since
 * bpf_skb_change_tail() falls back to CHECKSUM_NONE and a test run then compares a sum that nobody
 * keeps up any more. */
#define TRIMMED 107

/* BPF_F_TEST_SKB_CHECKSUM_COMPLETE, which older headers lack. */
#define FIXTURE_FLAG_COMPLETE (1u << 2)

#define FIXTURE_HZ 250
#define FIXTURE_IFINDEX 1 /* where packets of a test run come in: the loopback */
#define FIXTURE_PEER 1002 /* pod interfaces of replicas on the fast path: this one and the next three */
#define FIXTURE_EVENTS 64 /* rows of the ring */
#define FIXTURE_SEED 0x5eed0123456789abull

/* Where a packet passes; the names of the programs. */
enum fixture_hook {
	FROM_POD,
	TO_POD,
	FROM_UPLINK,
	TO_UPLINK,
	FROM_FABRIC,
	XDP_UPLINK, /* verdicts are XDP_* of linux/bpf.h */
	FROM_NODE,
	FROM_FABRIC_L3, /* packets go in without their Ethernet headers; CHECKSUM_COMPLETE is left out */
	FIXTURE_HOOKS,
};

struct fixture {
	bool v6;
	bool complete; /* packets come with CHECKSUM_COMPLETE */
	int ifindex;   /* where packets come in; 0: the loopback, and from a replica on the fast path that
			* is of this node its pod interface */
	struct sluice_bpf *skel;
	struct sl_control *control;
	struct sl_kernel *kernel;
	struct sl_filter *filters;
	struct sl_index_set *sets;
	struct sl_vip *vips;
	struct sl_service *services;
	struct sl_member *members;
	struct sl_replica *replicas;
	struct sl_replica_services *replica_services;
	struct sl_source *sources;
	struct sl_flow_set *flows;
	struct sl_snat_set *snat;
	struct sl_outlier *outliers;
	struct sl_service_state *service_states;
	struct sl_pending *pending;
	struct sl_line *lines;
	struct sl_first_byte *first_bytes;
	struct sl_event *events;
	struct sl_event_head *event_head;
	struct index index;
	struct ranges ranges;
	__u32 n_vips, n_services, n_replicas, n_sources;
	__u32 flow_sets, snat_sets;
	uint64_t now_ns; /* the writers' clock: two seconds pass from change to change */
};

/* What may differ from the usual before the programs are loaded; 0: the usual. */
struct fixture_options {
	__u32 flow_sets; /* usually 64: 512 flows */
	__u32 snat_sets; /* usually 64: 512 ports */
	__u16 snat_port_min, snat_port_max;
	__u32 node_ifindex; /* usually 0: no device for the node's own clients */
	bool fast_path;     /* usually off */
	__u32 hz;        /* usually FIXTURE_HZ; 1 makes seconds pass in milliseconds */
};

/* One packet and what must become of it. */
struct step {
	enum fixture_hook at;
	const char *in;
	int verdict;
	const char *out; /* NULL: not a bit changed (SHOT: anything) */
};

/* What became of a packet. */
struct fixture_result {
	int verdict;
	struct packet in, out;
	char text[PACKET_TEXT_LEN]; /* of `out` */
};

typedef void fixture_fn(struct fixture *fixture);

/* Runs `fn` four times on a fresh fixture: IPv4 and IPv6, without and with CHECKSUM_COMPLETE
 * (twice where the kernel cannot do that). `options` may be NULL. */
void fixture_each(fixture_fn *fn, const struct fixture_options *options);
/* Runs it once, IPv4: where addresses and checksums make no difference. */
void fixture_once(fixture_fn *fn, const struct fixture_options *options);

/* The same by hand, for benches. 0, or -errno. */
int fixture_open(struct fixture *fixture, const struct fixture_options *options);
void fixture_close(struct fixture *fixture);
/* Whether BPF_PROG_TEST_RUN can give packets a CHECKSUM_COMPLETE (Linux 6.15). */
bool fixture_has_complete(void);

/* Ends the program: the setup failed. */
void fixture_die(const char *what, int error) __attribute__((noreturn));

/* `line` with addresses in place of names. */
const char *fixture_expand(const struct fixture *fixture, const char *line,
			   char buf[PACKET_TEXT_LEN]);

/* Rows, as the agent makes them. `flags`: SL_SERVICE_*; "vip:80" or "udp vip:53". */
__u32 fixture_add_service(struct fixture *fixture, __u32 flags);
__u32 fixture_add_vip(struct fixture *fixture, __u32 service, const char *vip);
/* A replica that is there already is shared with this service. */
__u32 fixture_add_replica(struct fixture *fixture, __u32 service, const char *replica,
			  __u16 weight);
/* An own address for source NAT; returns its row. */
__u32 fixture_add_source(struct fixture *fixture, const char *addr);
/* An address of this node, exempt from caps. */
void fixture_add_local(struct fixture *fixture, const char *addr);
/* Gives a replica a cap on its connections, 0: none. */
void fixture_set_cap(struct fixture *fixture, __u32 replica, __u32 cap);
/* Puts a replica on the fast path; one of this node behind the pod interface `ifindex`. */
void fixture_make_fast(struct fixture *fixture, __u32 replica, __u32 ifindex);
/* The loopback, where packets come in, takes redirects for clients whom routes look for at device `home`,
 * or, with 0, for nobody any more. The loopback is home to whom no route leads. */
void fixture_set_fast_client(struct fixture *fixture, __u32 home);
/* Moves a replica to another node: outside clients reach it with this source address. */
void fixture_make_remote(struct fixture *fixture, __u32 replica, __u32 source);
/* Builds the alias table anew after weights were changed. */
void fixture_publish(struct fixture *fixture, __u32 service);
/* One service with vip:80, and `n` local replicas r1:8000, r2:8000 ... of weight 100. */
__u32 fixture_simple(struct fixture *fixture, __u32 flags, unsigned n);

int fixture_program_fd(const struct fixture *fixture, enum fixture_hook at);
/* Sends one packet. */
void fixture_send(struct fixture *fixture, enum fixture_hook at, const char *line,
		  struct fixture_result *ret);
/* Sends what is in ret->in. */
void fixture_send_built(struct fixture *fixture, enum fixture_hook at, struct fixture_result *ret);
/* Sends one packet and compares; prints what differs and returns false. */
bool fixture_step(struct fixture *fixture, const struct step *step);
bool fixture_steps(struct fixture *fixture, const struct step *steps, size_t n);
/* Sends one packet of what client:4000 and r1:8000, behind vip:80, say to each other:
 * "> S seq 7 len 0" is the client's, "< ..." its replica's. Prints and returns false unless it
 * was translated. */
bool fixture_say(struct fixture *fixture, const char *line);
#define STEPS(fixture, steps)                                                                      \
	CHECK(fixture_steps(fixture, steps, sizeof(steps) / sizeof((steps)[0])))

/* One whole pass of the sweep, or a few where the table is small. */
void fixture_sweep(struct fixture *fixture);
/* One slice of it: what is due of ejections is decided too, since no timer is armed. */
void fixture_tick(struct fixture *fixture);
/* Runs the program eject_now; what it returns. */
int fixture_eject(struct fixture *fixture, enum sl_eject_op op, __u32 service, __u32 replica,
		  __u32 a, __u32 b);

/* The only flow in a phase of SYN on; NULL when there is none or more than one. */
struct sl_flow *fixture_flow(struct fixture *fixture);
unsigned fixture_count_flows(struct fixture *fixture, enum sl_flow_phase phase);
unsigned fixture_count_snat(struct fixture *fixture, enum sl_snat_phase phase);
/* Makes all flows and source-NAT ports look `seconds` older. */
void fixture_age(struct fixture *fixture, unsigned seconds);
/* Sums over CPUs. */
uint64_t fixture_drops(struct fixture *fixture, enum sl_drop_reason reason);
uint64_t fixture_counter(struct fixture *fixture, enum sl_counter counter);
unsigned fixture_count_spilled(struct fixture *fixture);

#endif
