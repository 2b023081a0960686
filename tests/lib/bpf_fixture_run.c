// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fixture of the packet tables: sends packets through the programs, compares
 * what comes out, and looks at what the tables then hold.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "bpf_fixture.h"

#define SWEEPS_PER_PASS 200 /* slices of bpf/sweep.h: a pass of 2 s, a slice each 10 ms */

int fixture_program_fd(const struct fixture *fixture, enum fixture_hook at)
{
	const struct bpf_program *const programs[FIXTURE_HOOKS] = {
		[FROM_POD] = fixture->skel->progs.from_pod,
		[TO_POD] = fixture->skel->progs.to_pod,
		[FROM_UPLINK] = fixture->skel->progs.from_uplink,
		[TO_UPLINK] = fixture->skel->progs.to_uplink,
		[FROM_FABRIC] = fixture->skel->progs.from_fabric,
		[XDP_UPLINK] = fixture->skel->progs.uplink,
		[FROM_NODE] = fixture->skel->progs.from_node,
		[FROM_FABRIC_L3] = fixture->skel->progs.from_fabric_l3,
	};

	return bpf_program__fd(programs[at]);
}

/* A bare packet is put back behind the Ethernet header that it went in without. */
static void complete_frame(struct fixture_result *ret)
{
	unsigned version = ret->out.data[0] >> 4; /* of a MAC address: 0 */

	if (version != 4 && version != 6)
		return;
	memmove(ret->out.data + ETH_HLEN, ret->out.data, ret->out.len);
	memcpy(ret->out.data, ret->in.data, ETH_HLEN);
	ret->out.len += ETH_HLEN;
}

/* Where a packet comes in. */
static int comes_in_at(const struct fixture *fixture, enum fixture_hook at,
		       const struct packet *packet)
{
	const unsigned char *source = packet->data + ETH_HLEN + (fixture->v6 ? 8 : 12);
	size_t len = fixture->v6 ? 16 : 4;

	for (__u32 i = 0; !fixture->ifindex && at == FROM_POD && i < fixture->n_replicas; i++) {
		const struct sl_replica_config *config = &fixture->replicas[i].config;

		if (config->flags & SL_REPLICA_LOCAL && config->peer_ifindex >= FIXTURE_PEER &&
		    !memcmp(config->addr.b + 16 - len, source, len))
			return config->peer_ifindex;
	}
	return fixture->ifindex;
}

/* A test run takes the first 14 bytes for the Ethernet header and then shows the program all of
 * them: a packet that begins with its IP header is seen as on a device without Ethernet. */
void fixture_send_built(struct fixture *fixture, enum fixture_hook at, struct fixture_result *ret)
{
	size_t skip = at == FROM_FABRIC_L3 ? ETH_HLEN : 0;
	bool xdp = at == XDP_UPLINK;
	int ifindex = comes_in_at(fixture, at, &ret->in);
	struct xdp_md frame = {.data_end = ret->in.len, .ingress_ifindex = ifindex};
	struct __sk_buff skb = {.ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = ret->in.data + skip,
		    .data_size_in = ret->in.len - skip, .data_out = ret->out.data,
		    .data_size_out = sizeof(ret->out.data) - skip, .repeat = 1,
		    .flags = fixture->complete && !xdp && !skip ? FIXTURE_FLAG_COMPLETE : 0);
	int err;

	if (ifindex) {
		opts.ctx_in = xdp ? (void *)&frame : (void *)&skb;
		opts.ctx_size_in = xdp ? sizeof(frame) : sizeof(skb);
	}
	err = bpf_prog_test_run_opts(fixture_program_fd(fixture, at), &opts);
	ret->out.len = err ? 0 : opts.data_size_out;
	if (!err && skip)
		complete_frame(ret);
	ret->verdict = err ? err : (int)opts.retval;
	if (err)
		snprintf(ret->text, sizeof(ret->text), "test run: %s", strerror(-err));
	else
		packet_format(&ret->out, ret->text);
}

void fixture_send(struct fixture *fixture, enum fixture_hook at, const char *line,
		  struct fixture_result *ret)
{
	char text[PACKET_TEXT_LEN];

	if (packet_build(fixture_expand(fixture, line, text), &ret->in))
		fixture_die(text, EINVAL);
	fixture_send_built(fixture, at, ret);
}

static bool is_untouched(const struct fixture_result *result)
{
	return result->in.len == result->out.len &&
	       !memcmp(result->in.data, result->out.data, result->in.len);
}

bool fixture_step(struct fixture *fixture, const struct step *step)
{
	char expected[PACKET_TEXT_LEN];
	int verdict = step->verdict == TRIMMED ? REDIRECT : step->verdict;
	bool complete = fixture->complete, same;
	struct fixture_result result;

	fixture->complete = complete && step->verdict != TRIMMED;
	fixture_send(fixture, step->at, step->in, &result);
	fixture->complete = complete;
	if (step->out)
		same = !strcmp(result.text, fixture_expand(fixture, step->out, expected));
	else
		same = verdict == SHOT || is_untouched(&result);
	if (same && result.verdict == verdict)
		return true;
	printf("  [%s%s] %s\n    gave   %d: %s\n    wanted %d: %s\n", fixture->v6 ? "v6" : "v4",
	       fixture->complete ? ", complete" : "", step->in, result.verdict, result.text,
	       verdict, step->out ? expected : "(untouched)");
	return false;
}

bool fixture_steps(struct fixture *fixture, const struct step *steps, size_t n)
{
	bool good = true;

	for (size_t i = 0; i < n; i++)
		good &= fixture_step(fixture, &steps[i]);
	return good;
}

bool fixture_say(struct fixture *fixture, const char *line)
{
	bool client = line[0] == '>';
	char in[PACKET_TEXT_LEN], out[PACKET_TEXT_LEN];
	struct step step = {client ? FROM_POD : TO_POD, in, NEXT, out};

	snprintf(in, sizeof(in), "%s %s", client ? "client:4000 > vip:80" : "r1:8000 > client:4000",
		 line + 2);
	snprintf(out, sizeof(out), "%s %s",
		 client ? "client:4000 > r1:8000" : "vip:80 > client:4000", line + 2);
	return fixture_step(fixture, &step);
}

static void sweep(struct fixture *fixture, int slices)
{
	unsigned char frame[ETH_ZLEN] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = slices);
	int err = bpf_prog_test_run_opts(bpf_program__fd(fixture->skel->progs.sweep_now), &opts);

	if (err)
		fixture_die("sweep_now", err);
}

void fixture_sweep(struct fixture *fixture)
{
	sweep(fixture, SWEEPS_PER_PASS);
}

void fixture_tick(struct fixture *fixture)
{
	sweep(fixture, 1);
}

int fixture_eject(struct fixture *fixture, enum sl_eject_op op, __u32 service, __u32 replica,
		  __u32 a, __u32 b)
{
	unsigned char frame[ETH_ZLEN] = {0};
	struct __sk_buff skb = {.cb = {op, service, replica, a, b}};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &skb, .ctx_size_in = sizeof(skb));
	int err = bpf_prog_test_run_opts(bpf_program__fd(fixture->skel->progs.eject_now), &opts);

	if (err)
		fixture_die("eject_now", err);
	return opts.retval;
}

/* ---- what the tables hold ----------------------------------------------------------*/

struct sl_flow *fixture_flow(struct fixture *fixture)
{
	struct sl_flow *found = NULL;

	for (__u32 i = 0; i < fixture->flow_sets * SL_FLOW_WAYS; i++) {
		struct sl_flow *flow = &fixture->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];

		if (SL_FLOW_PHASE(flow->state) < SL_FLOW_SYN)
			continue;
		if (found)
			return NULL;
		found = flow;
	}
	return found;
}

unsigned fixture_count_flows(struct fixture *fixture, enum sl_flow_phase phase)
{
	unsigned n = 0;

	for (__u32 i = 0; i < fixture->flow_sets * SL_FLOW_WAYS; i++)
		n += SL_FLOW_PHASE(fixture->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS].state) ==
		     phase;
	return n;
}

unsigned fixture_count_snat(struct fixture *fixture, enum sl_snat_phase phase)
{
	unsigned n = 0;

	for (__u32 i = 0; i < fixture->snat_sets * SL_SNAT_WAYS; i++)
		n += fixture->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS].phase == phase;
	return n;
}

void fixture_age(struct fixture *fixture, unsigned seconds)
{
	for (__u32 i = 0; i < fixture->flow_sets * SL_FLOW_WAYS; i++) {
		struct sl_flow *flow = &fixture->flows[i / SL_FLOW_WAYS].way[i % SL_FLOW_WAYS];

		flow->last_seen -= seconds * FIXTURE_HZ;
		if (flow->request) /* 0: none */
			flow->request -= seconds * FIXTURE_HZ;
	}
	for (__u32 i = 0; i < fixture->snat_sets * SL_SNAT_WAYS; i++)
		fixture->snat[i / SL_SNAT_WAYS].way[i % SL_SNAT_WAYS].freed -=
			seconds * FIXTURE_HZ;
}

static uint64_t sum_row(struct bpf_map *map, __u32 row)
{
	int n = libbpf_num_possible_cpus();
	uint64_t values[n], sum = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(map), &row, values))
		fixture_die(bpf_map__name(map), errno);
	for (int i = 0; i < n; i++)
		sum += values[i];
	return sum;
}

uint64_t fixture_drops(struct fixture *fixture, enum sl_drop_reason reason)
{
	return sum_row(fixture->skel->maps.drops, reason);
}

uint64_t fixture_counter(struct fixture *fixture, enum sl_counter counter)
{
	return sum_row(fixture->skel->maps.counters, counter);
}

unsigned fixture_count_spilled(struct fixture *fixture)
{
	struct sl_flow_key key, *last = NULL;
	unsigned n = 0;

	while (!bpf_map_get_next_key(bpf_map__fd(fixture->skel->maps.spill), last, &key)) {
		last = &key;
		n++;
	}
	return n;
}
