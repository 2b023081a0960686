// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a packet costs in each program: nanoseconds by BPF_PROG_TEST_RUN, net of
 * an empty program that gets the same packets. Every packet is made anew
 * (driver.bpf.c), flows come in a scattered order, and each number is the median
 * of rounds in which program and baseline took turns.
 *
 * usage: prog_bench      (root; half a minute; 200 MB of maps)
 */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <sluice/hash.h>

#include "addr.h"
#include "bench.h"
#include "bpf_fixture.h"
#include "drive.h"
#include "xdp.h"
#include "xdp_twin.h"

#define ROUNDS 7
#define REPEAT (1u << 19)
#define NEW_FLOWS 100000u /* opened in one round: a third of the default table */
#define DEFAULT_SETS SL_FLOW_SETS
#define LARGE_SETS (8 * SL_FLOW_SETS) /* 2 M flows, 128 MiB */

/* What makes packets, and calls the program in the map. */
struct driver {
	int driver_fd, empty_fd, under_test_fd;
	int empty_verdict;
};

struct bench {
	struct fixture fixture;
	struct bpf_object *object;
	struct driver tc, xdp;
	struct drive *drive;
	struct drive_chunk *chunks;
};

#define PEER 2 /* a pod interface other than the client's */

/* Services of the bench: same address, by port. */
enum { LOCAL_PORT = 80, REMOTE_PORT = 81, MANY_PORT = 82 };
#define MANY 1000

/* One row of the table that is printed. */
struct row {
	const char *program;
	const char *packet;
	enum fixture_hook at;
	const char *line;
	enum drive_mode mode;
	bool reply;  /* the client is the destination */
	int verdict;
	double target_1, target_many; /* ns; 0: none */
};

/* ---- packets ----------------------------------------------------------------------*/

static void load_packet(struct bench *bench, const char *line, struct packet *ret)
{
	char text[PACKET_TEXT_LEN];

	if (packet_build(fixture_expand(&bench->fixture, line, text), ret) ||
	    ret->len < sizeof(bench->drive->frame))
		bench_die(text, EINVAL);
	memcpy(bench->drive->frame, ret->data, sizeof(bench->drive->frame));
}

/* Points the driver at the fields that make the difference between flows. */
static void aim(struct bench *bench, const struct row *row, unsigned flows)
{
	struct drive *drive = bench->drive;
	bool v6 = bench->fixture.v6;
	unsigned src_end = v6 ? 14 + 24 : 14 + 16, dst_end = v6 ? 14 + 40 : 14 + 20;
	unsigned ports = v6 ? 14 + 40 : 14 + 20;

	drive->mode = row->mode;
	drive->next = 0;
	drive->mask = flows - 1;
	drive->spread = 0x9e3779b1;
	drive->addr = v6 ? 0 : 0x0a090000;
	drive->addr_at = (row->reply ? dst_end : src_end) - 4;
	drive->port_at = row->reply ? ports + 2 : ports;
	drive->replica_at = row->reply && row->mode != DRIVE_AS_IS ? src_end - 1 : 0;
}

static const struct driver *driver_of(const struct bench *bench, const struct row *row)
{
	return row->at == XDP_UPLINK ? &bench->xdp : &bench->tc;
}

/* Runs what lies behind `fd` on packets of this row; ends the program unless the last verdict is that. */
static double run(struct bench *bench, const struct row *row, int fd, const struct packet *packet,
		  unsigned repeat, int verdict)
{
	const struct driver *driver = driver_of(bench, row);
	int ifindex = bench->fixture.ifindex, last;
	__u32 zero = 0;
	double ns;

	if (bpf_map_update_elem(driver->under_test_fd, &zero, &fd, BPF_ANY))
		bench_die("prog array", errno);
	bench->drive->next = 0;
	ns = row->at == XDP_UPLINK ?
		     bench_run_xdp_ns(driver->driver_fd, packet->data, packet->len, repeat, ifindex,
				      &last) :
		     bench_run_ns(driver->driver_fd, packet->data, packet->len, repeat, &last);
	if (last != verdict) {
		fprintf(stderr, "bench: %s, %s: verdict %d, expected %d\n", row->program,
			row->packet, last, verdict);
		exit(1);
	}
	return ns;
}

static double run_empty(struct bench *bench, const struct row *row, const struct packet *packet,
			unsigned repeat)
{
	const struct driver *driver = driver_of(bench, row);

	return run(bench, row, driver->empty_fd, packet, repeat, driver->empty_verdict);
}

static double run_row(struct bench *bench, const struct row *row, const struct packet *packet,
		      unsigned repeat)
{
	return run(bench, row, fixture_program_fd(&bench->fixture, row->at), packet, repeat,
		   row->verdict);
}

static void print_row(const struct bench *bench, const struct row *row, unsigned flows, double ns)
{
	double target = flows == 1 ? row->target_1 : row->target_many;
	char count[16] = "-", wanted[16] = "";

	if (flows)
		snprintf(count, sizeof(count), "%u", flows);
	if (target > 0)
		snprintf(wanted, sizeof(wanted), "<= %.0f%s", target,
			 ns <= target ? "" : " MISSED");
	printf("%-12s %-40s %-4s %8s %8.1f  %s\n", row->program, row->packet,
	       bench->fixture.v6 ? "IPv6" : "IPv4", count, ns, wanted);
	fflush(stdout);
}

/* ---- what is there to be found ------------------------------------------------------*/

static void add_replicas(struct fixture *f, __u32 service, unsigned net, unsigned n, bool remote)
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		if (f->v6)
			snprintf(name, sizeof(name), "[fd02::%x:%x]:8000", net + i / 250,
				 1 + i % 250);
		else
			snprintf(name, sizeof(name), "10.2.%u.%u:8000", net + i / 250, 1 + i % 250);
		__u32 row = fixture_add_replica(f, service, name, 100);

		if (remote)
			fixture_make_remote(f, row, 0);
		if (remote && f->ifindex)
			f->replicas[row].config.out_ifindex = f->ifindex;
		fixture_make_fast(f, row, PEER);
	}
}

static void open_bench(struct bench *bench, bool v6, __u32 flow_sets, bool fast)
{
	const struct fixture_options options = {.flow_sets = flow_sets, .snat_sets = SL_SNAT_SETS,
					       .hz = TWIN_HZ, .fast_path = fast};
	struct fixture *f = &bench->fixture;
	int err = fixture_open(f, &options);
	__u32 service;

	if (err)
		bench_die("load", err);
	f->v6 = v6;
	if (!twin_node(f))
		f->ifindex = 0; /* no veth: XDP has no way out */
	fixture_set_fast_client(f, f->ifindex ? f->ifindex : FIXTURE_IFINDEX);
	fixture_add_source(f, "node");
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "vip:80");
	add_replicas(f, service, 0, DRIVE_REPLICAS, false);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "vip:81");
	add_replicas(f, service, 1, DRIVE_REPLICAS, true);
	service = fixture_add_service(f, 0);
	fixture_add_vip(f, service, "vip:82");
	add_replicas(f, service, 2, MANY, false);
}

/* Forgets all flows, as if nothing had been sent. */
static void clear_flows(struct bench *bench)
{
	struct fixture *f = &bench->fixture;

	memset(f->flows, 0, (size_t)f->flow_sets * sizeof(*f->flows));
	memset(f->snat, 0, (size_t)f->snat_sets * sizeof(*f->snat));
	for (__u32 i = 0; i < f->n_replicas; i++)
		memset(&f->replicas[i].state, 0, sizeof(f->replicas[i].state));
	f->kernel->half_open = 0;
}

/* Tells the driver which replica each flow got, so that it can make the answers. */
static void learn_replicas(struct bench *bench)
{
	struct fixture *f = &bench->fixture;
	unsigned found = 0;

	for (__u32 i = 0; i < f->flow_sets * SL_FLOW_WAYS; i++) {
		const struct sl_flow *flow = &f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];
		unsigned client = ntohl(flow->key.client.w[3]) & 0xffff;
		unsigned n = client * DRIVE_PORTS + ntohs(flow->key.port) - DRIVE_PORT;

		if (SL_FLOW_PHASE(flow->state) < SL_FLOW_SYN || n >= DRIVE_MAX_FLOWS)
			continue;
		bench->chunks[n / DRIVE_CHUNK].replica[n % DRIVE_CHUNK] =
			flow->replica % DRIVE_REPLICAS + 1;
		found++;
	}
	if (!found)
		bench_die("no flow was opened", ENOENT);
}

static void send_row(struct bench *bench, const struct row *row, unsigned flows)
{
	struct packet packet;

	load_packet(bench, row->line, &packet);
	aim(bench, row, flows);
	run_row(bench, row, &packet, flows);
}

/* Opens `flows` of them: SYN from the client, SYN-ACK from its replica. `data`: the client's next packet,
 * whose ACK opens the flow. */
/* The replicas of this node are behind that interface, where their replies then come in. */
static void put_behind(struct bench *bench, __u32 ifindex)
{
	struct sl_replica *replicas = bench->fixture.replicas;

	for (__u32 i = 0; i < bench->fixture.n_replicas; i++)
		if (replicas[i].config.flags & SL_REPLICA_LOCAL)
			replicas[i].config.peer_ifindex = ifindex;
}

static void open_flows(struct bench *bench, const struct row *syn, const struct row *answer,
		       const struct row *data, unsigned flows)
{
	clear_flows(bench);
	put_behind(bench, PEER);
	send_row(bench, syn, flows);
	learn_replicas(bench);
	put_behind(bench, FIXTURE_IFINDEX);
	send_row(bench, answer, flows);
	send_row(bench, data, flows);
}

/* ---- measurements --------------------------------------------------------------------*/

/* Program and baseline in turns, over flows that are there. */
static void measure(struct bench *bench, const struct row *row, unsigned flows)
{
	double net[ROUNDS];
	struct packet packet;

	load_packet(bench, row->line, &packet);
	aim(bench, row, flows ? flows : 65536);
	for (unsigned i = 0; i < ROUNDS; i++) {
		double base = run_empty(bench, row, &packet, REPEAT);

		net[i] = run_row(bench, row, &packet, REPEAT) - base;
	}
	print_row(bench, row, flows, bench_median(net, ROUNDS));
}

/* Every packet opens a flow; the table is emptied between rounds. */
static void measure_new(struct bench *bench, const struct row *row)
{
	double net[ROUNDS];
	struct packet packet;

	load_packet(bench, row->line, &packet);
	aim(bench, row, DRIVE_MAX_FLOWS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		double base = run_empty(bench, row, &packet, NEW_FLOWS);

		clear_flows(bench);
		net[i] = run_row(bench, row, &packet, NEW_FLOWS) - base;
		if (fixture_count_flows(&bench->fixture, SL_FLOW_SYN) < NEW_FLOWS * 99 / 100)
			bench_die("flows were not opened", ENOSPC);
	}
	print_row(bench, row, 0, bench_median(net, ROUNDS));
}

#define PAYLOAD " len 100"

static const struct row pod_syn = {
	"from_pod", "new flow, 16 replicas", FROM_POD, "client:4000 > vip:80 S seq 7" PAYLOAD,
	DRIVE_CLIENT, false, NEXT, 0, 250};
static const struct row pod_syn_many = {
	"from_pod", "new flow, 1000 replicas", FROM_POD, "client:4000 > vip:82 S seq 7" PAYLOAD,
	DRIVE_CLIENT, false, NEXT, 0, 250};
static const struct row pod_answer = {
	"to_pod", "", TO_POD, "r1:8000 > client:4000 SA seq 1 ack 8" PAYLOAD, DRIVE_CLIENT, true,
	NEXT,     0,  0};
static const struct row pod_data = {
	"from_pod", "established", FROM_POD, "client:4000 > vip:80 A seq 8 ack 2" PAYLOAD,
	DRIVE_CLIENT, false, NEXT, 52, 100};
static const struct row pod_reply = {
	"to_pod", "established, reply", TO_POD, "r1:8000 > client:4000 A seq 2 ack 8" PAYLOAD,
	DRIVE_CLIENT, true, NEXT, 52, 100};

static const struct row uplink_syn = {
	"from_uplink", "new flow, 16 local replicas", FROM_UPLINK,
	"client:4000 > vip:80 S seq 7" PAYLOAD, DRIVE_CLIENT, false, NEXT, 0, 250};
static const struct row uplink_answer = {"to_uplink",
					 "",
					 TO_UPLINK,
					 "r1:8000 > client:4000 SA seq 1 ack 8" PAYLOAD,
					 DRIVE_CLIENT,
					 true,
					 NEXT,
					 0,
					 0};
static const struct row uplink_data = {
	"from_uplink", "established, local replica", FROM_UPLINK,
	"client:4000 > vip:80 A seq 8 ack 2" PAYLOAD, DRIVE_CLIENT, false, NEXT, 52, 100};
static const struct row uplink_reply = {
	"to_uplink", "established, reply", TO_UPLINK, "r1:8000 > client:4000 A seq 2 ack 8" PAYLOAD,
	DRIVE_CLIENT, true, NEXT, 52, 100};

static const struct row snat_syn = {
	"from_uplink", "new flow, 16 remote replicas (SNAT)", FROM_UPLINK,
	"client:4000 > vip:81 S seq 7" PAYLOAD, DRIVE_CLIENT, false, REDIRECT, 0, 250};
static const struct row snat_data = {
	"from_uplink", "established, remote replica (SNAT)", FROM_UPLINK,
	"client:4000 > vip:81 A seq 8 ack 2" PAYLOAD, DRIVE_CLIENT, false, REDIRECT, 52, 100};

/* At XDP what is ours is sent on, or passed on to the programs above. */
static const struct row xdp_data = {
	"uplink", "sent on: to a remote replica (SNAT)", XDP_UPLINK,
	"client:4000 > vip:81 A seq 8 ack 2" PAYLOAD, DRIVE_CLIENT, false, XDP_TX, 0, 0};
static const struct row xdp_local = {
	"uplink", "passed: to a local replica", XDP_UPLINK,
	"client:4000 > vip:80 A seq 8 ack 2" PAYLOAD, DRIVE_CLIENT, false, XDP_PASS, 0, 0};
static const struct row xdp_foreign = {
	"uplink", "passed: not ours", XDP_UPLINK, "client:4000 > other:80 A seq 8 ack 2" PAYLOAD,
	DRIVE_CLIENT, false, XDP_PASS, 0, 20};

/* The only flow's replica and port; of many, r1 with the third byte of the remote ones, and the driver
 * writes the rest. */
static struct row snat_reply(struct bench *bench, enum fixture_hook at, const char *flags,
			     unsigned flows)
{
	static char line[PACKET_TEXT_LEN];
	char replica[ADDR_PORT_STR_LEN] = "";
	struct sl_flow *flow = flows == 1 ? fixture_flow(&bench->fixture) : NULL;
	const struct sl_replica_config *config;

	snprintf(replica, sizeof(replica), "%s",
		 bench->fixture.v6 ? "[fd02::1:1]:8000" : "10.2.1.1:8000");
	if (flow) {
		config = &bench->fixture.replicas[flow->replica].config;
		addr_format_port(&config->addr, config->port, replica);
	}
	snprintf(line, sizeof(line), "%s > node:%u %s" PAYLOAD, replica,
		 flow ? ntohs(flow->snat_port) : DRIVE_SNAT_PORT, flags);
	return (struct row){at == FROM_UPLINK ? "from_uplink" : "from_fabric",
			    "established, reply (SNAT)", at, line,
			    flow ? DRIVE_AS_IS : DRIVE_SNAT_REPLY, true, REDIRECT, 52, 100};
}

/* What the driver's answers did not reach, since it does not know which flow has which port. */
static void open_the_rest(struct fixture *f)
{
	for (__u32 i = 0; i < f->flow_sets * SL_FLOW_WAYS; i++) {
		__u64 *state = &f->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].state;

		if (SL_FLOW_PHASE(*state) == SL_FLOW_SYN)
			*state = (*state & ~0xfull) | SL_FLOW_ANSWERED | SL_FLOW_OPEN;
	}
}

/* Opens flows to remote replicas, whose clients came in where XDP's frames do. */
static void open_snat(struct bench *bench, unsigned flows)
{
	struct fixture *f = &bench->fixture;
	struct row answer;

	clear_flows(bench);
	send_row(bench, &snat_syn, flows);
	answer = snat_reply(bench, FROM_UPLINK, "SA seq 1 ack 8", flows);
	send_row(bench, &answer, flows);
	send_row(bench, &snat_data, flows);
	open_the_rest(f);
	for (__u32 i = 0; i < f->snat_sets * SL_SNAT_WAYS; i++)
		f->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS].client_ifindex = f->ifindex;
}

static void measure_snat(struct bench *bench, unsigned flows)
{
	struct row reply;

	measure(bench, &snat_data, flows);
	for (int i = 0; i < 2; i++) {
		reply = snat_reply(bench, i ? FROM_FABRIC : FROM_UPLINK, "A seq 2 ack 8", flows);
		measure(bench, &reply, flows);
	}
}

static void measure_xdp(struct bench *bench, unsigned flows)
{
	struct row reply = snat_reply(bench, FROM_UPLINK, "A seq 2 ack 8", flows);

	measure(bench, &xdp_data, flows);
	reply.at = XDP_UPLINK;
	reply.program = "uplink";
	reply.packet = "sent on: reply (SNAT)";
	reply.verdict = XDP_TX;
	reply.target_1 = reply.target_many = 0;
	measure(bench, &reply, flows);
}

/* The fast path: where the reply comes in, it is translated. */
static const struct row fast_syn = {
	"from_pod", "new flow, fast path", FROM_POD, "client:4000 > vip:80 S seq 7" PAYLOAD,
	DRIVE_CLIENT, false, REDIRECT, 0, 250};
static const struct row fast_answer = {
	"from_pod", "", FROM_POD, "r1:8000 > client:4000 SA seq 1 ack 8" PAYLOAD, DRIVE_CLIENT, true,
	REDIRECT,   0,  0};
static const struct row fast_data = {
	"from_pod", "established, fast path", FROM_POD, "client:4000 > vip:80 A seq 8 ack 2" PAYLOAD,
	DRIVE_CLIENT, false, REDIRECT, 52, 100};
static const struct row fast_reply = {
	"from_pod", "established, reply, fast path", FROM_POD,
	"r1:8000 > client:4000 A seq 2 ack 8" PAYLOAD, DRIVE_CLIENT, true, REDIRECT, 52, 100};

static void bench_fast(struct bench *bench, bool v6)
{
	static const unsigned flows[] = {1, 65536};
	const struct row foreign = {"from_pod", "not ours, fast path", FROM_POD,
				    "client:4000 > other:80 A seq 8 ack 2" PAYLOAD, DRIVE_CLIENT,
				    false, NEXT, 0, 20};

	open_bench(bench, v6, DEFAULT_SETS, true);
	for (unsigned i = 0; i < 2; i++) {
		open_flows(bench, &fast_syn, &fast_answer, &fast_data, flows[i]);
		measure(bench, &fast_data, flows[i]);
		measure(bench, &fast_reply, flows[i]);
	}
	put_behind(bench, PEER);
	measure_new(bench, &fast_syn);
	clear_flows(bench);
	measure(bench, &foreign, 0);
	fixture_close(&bench->fixture);
}

static void measure_established(struct bench *bench, unsigned flows)
{
	open_flows(bench, &pod_syn, &pod_answer, &pod_data, flows);
	measure(bench, &pod_data, flows);
	measure(bench, &pod_reply, flows);
	open_flows(bench, &uplink_syn, &uplink_answer, &uplink_data, flows);
	measure(bench, &uplink_data, flows);
	measure(bench, &uplink_reply, flows);
	if (bench->fixture.ifindex)
		measure(bench, &xdp_local, flows);
	if (flows / DRIVE_REPLICAS > 29999 - DRIVE_SNAT_PORT)
		return; /* more than there are source-NAT ports */
	open_snat(bench, flows);
	if (flows >= DRIVE_REPLICAS)
		measure_snat(bench, flows);
	if (bench->fixture.ifindex)
		measure_xdp(bench, flows);
}

static void measure_foreign(struct bench *bench)
{
	static const char *const programs[] = {"from_pod", "to_pod", "from_uplink", "to_uplink",
					       "from_fabric"};

	clear_flows(bench);
	for (enum fixture_hook at = FROM_POD; at <= FROM_FABRIC; at++) {
		struct row row = {programs[at], "not ours", at,
				  "client:4000 > other:80 A seq 8 ack 2" PAYLOAD, DRIVE_CLIENT,
				  false, NEXT, 0, 20};

		measure(bench, &row, 0);
	}
	if (bench->fixture.ifindex)
		measure(bench, &xdp_foreign, 0);
}

/* `flows`: of the established ones, ended by 0. */
static void bench_table(struct bench *bench, bool v6, __u32 sets, const unsigned *flows, bool rest)
{
	open_bench(bench, v6, sets, false);
	for (; *flows; flows++)
		measure_established(bench, *flows);
	if (rest) {
		measure_new(bench, &pod_syn);
		measure_new(bench, &pod_syn_many);
		measure_new(bench, &uplink_syn);
		measure_new(bench, &snat_syn);
		measure_foreign(bench);
	}
	fixture_close(&bench->fixture);
}

static struct driver open_driver(const struct bpf_object *object, const char *driver,
				 const char *empty, const char *map, int verdict)
{
	return (struct driver){
		.driver_fd = bench_program_fd(object, driver),
		.empty_fd = bench_program_fd(object, empty),
		.under_test_fd = bpf_map__fd(bpf_object__find_map_by_name(object, map)),
		.empty_verdict = verdict,
	};
}

/* Programs that call each other must agree on frames in several buffers. */
static int load_drivers(struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
		if (bpf_program__type(program) == BPF_PROG_TYPE_XDP && xdp_has_frags())
			bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
	return bpf_object__load(object);
}

int main(void)
{
	struct bench bench = {.object = bench_open_object("driver")};
	int err = load_drivers(bench.object);

	if (err)
		bench_die("driver", err);
	bench_pin_cpu();
	bench.tc = open_driver(bench.object, "driver", "empty", "under_test", NEXT);
	bench.xdp = open_driver(bench.object, "xdp_driver", "xdp_empty", "xdp_under_test", XDP_PASS);
	bench.drive = bench_map_memory(bench.object, "drives");
	bench.chunks = bench_map_memory(bench.object, "chunks");
	printf("%-12s %-40s %-4s %8s %8s  %s\n", "program", "packet", "", "flows", "ns", "target");
	bench_table(&bench, false, DEFAULT_SETS, (unsigned[]){1, 65536, 0}, true);
	bench_table(&bench, false, LARGE_SETS, (unsigned[]){1u << 20, 0}, false);
	bench_table(&bench, true, DEFAULT_SETS, (unsigned[]){1, 65536, 0}, true);
	bench_fast(&bench, false);
	bench_fast(&bench, true);
	bpf_object__close(bench.object);
	return 0;
}
