// SPDX-License-Identifier: GPL-2.0-only
/*
 * Open flows of a dead replica: the walk marks each once and probes its client; whatever the client
 * sends then becomes an RST at both ends. In a network namespace of the test's own: what is sent for
 * good is heard at `wire` (to clients) and at the loopback (in again, where a test run's packets
 * come from).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "bpf_fixture.h"
#include "check.h"

static int wire, loopback; /* packet sockets */

static int tap(const char *name)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));

	at.sll_ifindex = if_nametoindex(name);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		fixture_die(name, errno);
	return fd;
}

/* A node whose clients hang on `wire`; of client2 only the way is known, not the MAC address. */
static bool setup(void)
{
	static const char *const script =
		"ip link set lo up && ip link add wire type veth peer name far && "
		"ip link set wire arp off address 02:00:00:00:00:0a && ip link set far arp off && "
		"ip link set wire up && ip link set far up && "
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && "
		"ip addr add 10.5.0.1/32 dev wire && "
		"ip route add 10.9.0.9 dev wire && ip route add 10.9.0.10 dev wire && "
		"ip -6 route add fd09::9 dev wire && ip -6 route add fd09::10 dev wire && "
		"ip link set wire arp on && "
		"ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:0b dev wire nud permanent && "
		"ip -6 neigh add fd09::9 lladdr 02:00:00:00:00:0b dev wire nud permanent";
	static int made;

	if (made)
		return made > 0;
	made = unshare(CLONE_NEWNET) || system(script) ? -1 : 1;
	if (made > 0) {
		wire = tap("far");
		loopback = tap("lo");
	}
	return made > 0;
}

#define SILENCE_MS 50 /* nothing more is to come */

/* The next TCP segment heard, as a line; "" when there is none within `ms`. */
static const char *hear(int fd, int ms, char line[PACKET_TEXT_LEN])
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	struct packet packet;
	ssize_t len;

	for (;;) {
		len = recv(fd, packet.data, sizeof(packet.data), 0);
		if (len < 0 && (errno != EAGAIN || poll(&wait, 1, ms) < 1))
			return strcpy(line, "");
		if (len < 54)
			continue;
		packet.len = len;
		packet_format(&packet, line);
		if (strncmp(line, "icmp", 4) && strncmp(line, "ether", 5) && strncmp(line, "udp", 3) &&
		    strncmp(line, "ip", 2))
			return line;
	}
}

static void check_heard(struct fixture *f, int fd, const char *expected)
{
	char line[PACKET_TEXT_LEN], wanted[PACKET_TEXT_LEN];

	CHECK_STR(hear(fd, *expected ? 5000 : SILENCE_MS, line), *expected ? fixture_expand(f, expected, wanted) : "");
}

static void deafen(int fd)
{
	char line[PACKET_TEXT_LEN];

	while (*hear(fd, SILENCE_MS, line))
		;
}

/* One run of the program; what it returned. `ret` may be NULL. */
static int run(struct fixture *f, struct sl_reset *job, struct packet *ret)
{
	unsigned char frame[74] = {[12] = f->v6 ? 0x86 : 0x08, [13] = f->v6 ? 0xdd : 0x00,
				   [14] = f->v6 ? 0x60 : 0x45};
	struct packet out;
	struct __sk_buff ctx = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = f->v6 ? 74 : 54,
		    .data_out = out.data, .data_size_out = sizeof(out.data), .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .ctx_out = &ctx, .ctx_size_out = sizeof(ctx));
	int err;

	memcpy(ctx.cb, job, sizeof(*job));
	err = bpf_prog_test_run_opts(bpf_program__fd(f->skel->progs.reset_flows), &opts);
	if (err)
		fixture_die("reset_flows", err);
	memcpy(job, ctx.cb, sizeof(*job));
	out.len = opts.data_size_out;
	if (ret)
		*ret = out;
	return opts.retval;
}

/* Whole walks over the table, of replica row `replica`; flows marked or ended. */
static unsigned walk(struct fixture *f, __u32 replica, __u32 pass)
{
	struct sl_reset job = {.replica = replica, .pass = pass};

	while (job.slot < f->flow_sets * SL_FLOW_WAYS) {
		job.max = 3;
		CHECK_INT(run(f, &job, NULL), 0);
	}
	return job.reset;
}

static void open_flow(struct fixture *f)
{
	CHECK(fixture_say(f, "> S seq 7 len 0"));
	CHECK(fixture_say(f, "< SA seq 100 ack 8 len 0"));
	CHECK(fixture_say(f, "> A seq 8 ack 101 len 0"));
}

static __u64 resets(struct fixture *f)
{
	CHECK_INT(f->service_states[0].resets, fixture_counter(f, SL_COUNT_RESETS));
	return f->service_states[0].resets;
}

/* ---- marked, probed, answered ----------------------------------------------------------*/

static void silent_client(struct fixture *f)
{
	static const struct step answers[] = {
		/* the client's answer to the probe: what it has sent, what it expects */
		{FROM_POD, "client:4000 > vip:80 A seq 4294967290 ack 4294967000 len 0 opts 12",
		 TRIMMED, "vip:80 > client:4000 R seq 4294967000 len 0 back"},
		/* on its way meanwhile */
		{FROM_POD, "client:4000 > vip:80 PA seq 4294967290 ack 77 len 1400", TRIMMED,
		 "vip:80 > client:4000 R seq 77 len 0 back"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	open_flow(f);
	CHECK_INT(walk(f, 1, 0), 0); /* another's */
	deafen(wire);
	CHECK_INT(walk(f, 0, 0), 1);
	check_heard(f, wire, "vip:80 > client:4000 A seq 100 ack 8 len 0");
	CHECK_INT(f->replicas[0].state.inflight, 1); /* until it is told */
	CHECK_INT(walk(f, 0, 0), 0);
	check_heard(f, wire, "");
	CHECK_INT(walk(f, 0, 1), 0); /* once more, from the other half of all numbers */
	check_heard(f, wire, "vip:80 > client:4000 A seq 2147483748 ack 8 len 0");
	CHECK_INT(resets(f), 1);
	deafen(loopback);
	STEPS(f, answers);
	check_heard(f, loopback, "client:4000 > vip:80 R seq 4294967290 len 0");
	check_heard(f, loopback, ""); /* one is enough */
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(fixture_drops(f, SL_DROP_RESET), 2);
	CHECK_INT(resets(f), 1);
	CHECK_INT(walk(f, 0, 1), 0);
	check_heard(f, wire, "");
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_DONE);
	fixture_age(f, 4);
	fixture_sweep(f);
	CHECK(!fixture_flow(f));
}

TEST(a_waiting_client_is_reset_at_both_ends)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(silent_client, NULL);
}

/* The RST that goes on to the replica; from there on nothing is revived, whoever speaks. */
static void replica_end(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	CHECK_INT(walk(f, 0, 0), 1);
	CHECK(fixture_say(f, "< PA seq 101 ack 8 len 9")); /* it lives: the client will answer that */
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK(fixture_say(f, "> R seq 8 len 0"));
	CHECK_INT(f->replicas[0].state.inflight, 0);
	for (int i = 0; i < 3; i++) {
		fixture_age(f, 1);
		CHECK(fixture_say(f, "< PA seq 101 ack 8 len 9"));
		CHECK(fixture_say(f, "< RA seq 101 ack 8 len 0"));
		CHECK(fixture_step(f, &(struct step){
			FROM_POD, "client:4000 > vip:80 PA seq 8 ack 110 len 5", TRIMMED,
			"vip:80 > client:4000 R seq 110 len 0 back"}));
		CHECK_INT(f->replicas[0].state.inflight, 0);
		CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_DONE);
	}
	fixture_age(f, 4);
	fixture_sweep(f);
	CHECK(!fixture_flow(f));
	CHECK_INT(resets(f), 1);
}

TEST(late_packets_of_the_replica_revive_nothing)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(replica_end, NULL);
}

/* The replica's own RST or FIN may come at any moment. */
static void replica_speaks(struct fixture *f)
{
	static const char *const lasts[] = {"< RA seq 101 ack 8 len 0", "< FA seq 101 ack 8 len 0"};

	for (unsigned i = 0; i < 2; i++) {
		if (!i)
			fixture_simple(f, 0, 1);
		open_flow(f);
		CHECK_INT(walk(f, 0, 0), 1);
		CHECK(fixture_say(f, lasts[i]));
		CHECK_INT(f->replicas[0].state.inflight, i); /* RST: over */
		fixture_age(f, 2);
		CHECK(fixture_step(f, &(struct step){
			FROM_POD, "client:4000 > vip:80 A seq 8 ack 102 len 0", REDIRECT,
			"vip:80 > client:4000 R seq 102 len 0 back"}));
		CHECK_INT(f->replicas[0].state.inflight, 0);
	}
}

TEST(a_replica_that_ends_it_itself)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(replica_speaks, NULL);
}

static void new_connection(struct fixture *f)
{
	__u32 service = fixture_simple(f, SL_SERVICE_REPLACE, 2);

	f->replicas[1].config.flags |= SL_REPLICA_PROBE_DOWN;
	fixture_publish(f, service);
	open_flow(f);
	f->replicas[0].config.flags |= SL_REPLICA_NO_ROUTE;
	f->replicas[1].config.flags &= ~SL_REPLICA_PROBE_DOWN;
	CHECK_INT(walk(f, 0, 0), 1);
	/* The same port, before the old connection was told. */
	CHECK(fixture_step(f, &(struct step){FROM_POD, "client:4000 > vip:80 S seq 9 len 0", NEXT,
					     "client:4000 > r2:8000 S seq 9 len 0"}));
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->replicas[1].state.inflight, 1);
	CHECK_INT(walk(f, 0, 1), 0);
}

TEST(a_new_syn_goes_to_another_replica_at_once)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_once(new_connection, NULL);
}

/* The client has opened a new connection from the same port when the probe of the old one comes: it
 * answers that by RST, which says nothing about the new one. */
static void stale_probe(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	CHECK_INT(walk(f, 0, 0), 1);
	CHECK(fixture_say(f, "> S seq 5000 len 0"));
	CHECK(fixture_say(f, "> R seq 8 len 0"));
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(SL_FLOW_PHASE(fixture_flow(f)->state), SL_FLOW_SYN);
	CHECK(fixture_say(f, "> R seq 5001 len 0"));
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(an_rst_for_an_old_probe_ends_no_new_connection)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(stale_probe, NULL);
}

static void handshake(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	CHECK(fixture_say(f, "> S seq 7 len 0"));
	CHECK_INT(walk(f, 0, 0), 0);
	CHECK(fixture_say(f, "< SA seq 100 ack 8 len 0"));
	CHECK_INT(walk(f, 0, 0), 0);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK(fixture_say(f, "> A seq 8 ack 101 len 0"));
	CHECK_INT(walk(f, 0, 1), 0); /* a later pass marks nothing: it may be a new life's */
	CHECK_INT(walk(f, 0, 0), 1);
}

TEST(handshakes_under_way_are_left_alone)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_once(handshake, NULL);
}

static void gone_client(struct fixture *f)
{
	fixture_simple(f, 0, 1);
	open_flow(f);
	fixture_age(f, 3000); /* a long silence must not end it before it could answer */
	CHECK_INT(walk(f, 0, 0), 1);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	fixture_age(f, 6);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(resets(f), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_EXPIRED_IDLE), 0);
}

TEST(who_does_not_answer_is_not_counted_for_long)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_once(gone_client, NULL);
}

/* ---- source NAT ------------------------------------------------------------------------*/

static void outside_client(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "node:2000 > r1:8000 S seq 7 len 0"},
		{FROM_UPLINK, "r1:8000 > node:2000 SA seq 100 ack 8 len 0", REDIRECT,
		 "vip:80 > client:4000 SA seq 100 ack 8 len 0"},
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "node:2000 > r1:8000 A seq 8 ack 101 len 0"},
	};
	static const struct step after[] = {
		{FROM_UPLINK, "client:4000 > vip:80 A seq 8 ack 101 len 0", REDIRECT,
		 "vip:80 > client:4000 R seq 101 len 0 back"},
		{FROM_UPLINK, "client:4000 > vip:80 R seq 8 len 0", REDIRECT, /* heard below */
		 "node:2000 > r1:8000 R seq 8 len 0"},
	};

	fixture_simple(f, SL_SERVICE_REPLACE, 1);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	STEPS(f, steps);
	deafen(wire);
	deafen(loopback);
	CHECK_INT(walk(f, 0, 0), 1);
	check_heard(f, wire, "vip:80 > client:4000 A seq 100 ack 8 len 0");
	STEPS(f, after);
	check_heard(f, loopback, "client:4000 > vip:80 R seq 8 len 0");
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 1);
	fixture_age(f, 4);
	fixture_sweep(f);
	CHECK(!fixture_flow(f));
	CHECK_INT(fixture_count_snat(f, SL_SNAT_QUARANTINE), 1); /* its minute of rest stays */
}

TEST(an_outside_client_of_a_remote_replica)
{
	static const struct fixture_options ports = {.snat_port_min = 2000, .snat_port_max = 2003};

	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(outside_client, &ports);
}

/* ---- UDP -------------------------------------------------------------------------------*/

static void udp(struct fixture *f)
{
	static const struct step steps[] = {
		{FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
		 "udp client:4000 > r1:5353 len 30"},
		{TO_POD, "udp r1:5353 > client:4000 len 30", NEXT,
		 "udp vip:53 > client:4000 len 30"},
	};
	__u32 service = fixture_add_service(f, 0);

	fixture_add_vip(f, service, "udp vip:53");
	fixture_add_replica(f, service, "udp r1:5353", 100);
	STEPS(f, steps);
	fixture_add_replica(f, service, "udp r2:5353", 100);
	f->replicas[0].config.flags |= SL_REPLICA_PROBE_DOWN;
	CHECK_INT(walk(f, 0, 0), 1);
	CHECK_INT(walk(f, 0, 0), 0);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(resets(f), 1);
	CHECK(fixture_step(f, &(struct step){FROM_POD, "udp client:4000 > vip:53 len 30", NEXT,
					     "udp client:4000 > r2:5353 len 30"}));
}

TEST(a_udp_conversation_is_picked_anew)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(udp, NULL);
}

/* ---- the walk ---------------------------------------------------------------------------*/

#define MANY 200

static bool begin(struct fixture *f, const char *client, unsigned port)
{
	static const struct {
		enum fixture_hook at;
		const char *format;
	} lines[] = {
		{FROM_POD, "%s:%u > vip:80 S seq 7 len 0"},
		{TO_POD, "r1:8000 > %s:%u SA seq 100 ack 8 len 0"},
		{FROM_POD, "%s:%u > vip:80 A seq 8 ack 101 len 0"},
	};
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(line, sizeof(line), lines[i].format, client, port);
		fixture_send(f, lines[i].at, line, &result);
		if (result.verdict != NEXT)
			return false;
	}
	return true;
}

static void slices(struct fixture *f)
{
	struct sl_reset job = {.replica = 0};
	unsigned runs = 0, before;

	fixture_simple(f, 0, 1);
	for (unsigned i = 0; i < MANY; i++)
		CHECK(begin(f, "client", 4000 + i));
	while (job.slot < f->flow_sets * SL_FLOW_WAYS) {
		before = job.reset;
		job.max = 7;
		CHECK_INT(run(f, &job, NULL), 0);
		CHECK_INT(job.reset - before + job.max, 7);
		runs++;
	}
	CHECK_INT(job.reset, MANY);
	CHECK(runs >= MANY / 7);
	CHECK_INT(resets(f), MANY);
	CHECK_INT(f->replicas[0].state.inflight, MANY);
	job = (struct sl_reset){.replica = 0};
	CHECK_INT(run(f, &job, NULL), 0); /* nothing allowed, nothing done */
	CHECK_INT(job.slot, 0);
	job = (struct sl_reset){.replica = 0, .slot = ~0u, .max = 9};
	CHECK_INT(run(f, &job, NULL), 0);
	CHECK_INT(job.reset, 0);
	fixture_age(f, 6);
	fixture_sweep(f);
	CHECK_INT(f->replicas[0].state.inflight, 0);
}

TEST(a_run_does_no_more_than_it_may)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_once(slices, NULL);
}

/* Whose MAC address is not known: the agent is given the probe, flow by flow, and none twice. */
static void unsent(struct fixture *f)
{
	struct sl_reset job = {.replica = 0, .max = 9};
	char line[PACKET_TEXT_LEN], wanted[PACKET_TEXT_LEN];
	struct packet probe;
	unsigned seen = 0;

	fixture_simple(f, 0, 1);
	CHECK(begin(f, "client2", 4000));
	CHECK(begin(f, "client2", 4001));
	CHECK(begin(f, "client", 4002));
	deafen(wire);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(run(f, &job, &probe), 1);
		packet_format(&probe, line);
		for (unsigned port = 4000; port <= 4001; port++) {
			char format[PACKET_TEXT_LEN];

			snprintf(format, sizeof(format),
				 "vip:80 > client2:%u A seq 100 ack 8 len 0", port);
			if (!strncmp(line, fixture_expand(f, format, wanted), strlen(wanted)))
				seen |= 1u << (port - 4000);
		}
	}
	CHECK_INT(seen, 3);
	CHECK_INT(run(f, &job, NULL), 0);
	CHECK_INT(job.slot, f->flow_sets * SL_FLOW_WAYS);
	CHECK_INT(job.reset, 3);
	CHECK_INT(job.max, 6);
	check_heard(f, wire, "vip:80 > client:4002 A seq 100 ack 8 len 0");
}

TEST(a_probe_without_a_neighbour_is_the_agents)
{
	if (!setup())
		SKIP("cannot make a network namespace");
	fixture_each(unsent, NULL);
}
