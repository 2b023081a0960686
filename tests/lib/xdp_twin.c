// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs packets through XDP and TC, and keeps what the tables were in between. Owns
 * the network namespace in which XDP finds its way; a setup that fails ends the
 * program. Used by tests/bpf/xdp_test.c and tests/bench/prog_bench.c.
 */
#include "xdp_twin.h"

#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packet_spec.h"

bool twin_node(struct fixture *f)
{
	static const char *const script =
		"ip link add up0 mtu 9000 address 02:00:00:00:00:0b type veth peer name far0 mtu 9000 && "
		"ip link add up1 address 02:00:00:00:00:0b type veth peer name far1 && "
		"for one in up0 far0 up1 far1; do ip link set $one up; done && "
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && "
		"ip addr add 10.5.0.1/24 dev up0 && ip addr add fd05::1/64 dev up0 nodad && "
		"ip addr add 10.6.0.1/24 dev up1 && ip addr add fd06::1/64 dev up1 nodad && "
		"ip neigh add 10.5.0.254 lladdr 02:00:00:00:00:0a dev up0 nud permanent && "
		"ip neigh add fd05::fe lladdr 02:00:00:00:00:0a dev up0 nud permanent && "
		"ip neigh add 10.6.0.254 lladdr 02:00:00:00:00:0a dev up1 nud permanent && "
		"ip neigh add fd06::fe lladdr 02:00:00:00:00:0a dev up1 nud permanent && "
		"for net in 10.9.0.0/16 10.2.0.0/16; do ip route add $net via 10.5.0.254; done && "
		"for net in fd09::/64 fd02::/64; do ip route add $net via fd05::fe; done && "
		"ip route add 10.2.0.3 via 10.6.0.254 && ip route add fd02::3 via fd06::fe && "
		"ip route add 10.2.0.4 via 10.5.0.253 && ip route add fd02::4 via fd05::fd";
	static int made;

	if (!made)
		made = unshare(CLONE_NEWNET) || system(script) ? -1 : 1;
	f->ifindex = if_nametoindex("up0");
	return made > 0;
}

/* ---- what the programs may change ---------------------------------------------------------- */

#define PENDING_ROWS 64 /* that a case may use */
enum { FLOWS, PORTS, PARTS = 7 };
#define COUNTS (SL_DROP_MAX + SL_COUNT_MAX)

struct part {
	void *memory;
	size_t len;
};

struct twin_snapshot {
	struct part copy[PARTS];
	uint64_t counts[COUNTS];
};

static void list_parts(const struct fixture *f, struct part ret[PARTS])
{
	ret[FLOWS] = (struct part){f->flows, f->flow_sets * sizeof(*f->flows)};
	ret[PORTS] = (struct part){f->snat, f->snat_sets * sizeof(*f->snat)};
	ret[2] = (struct part){f->replicas, f->n_replicas * sizeof(*f->replicas)};
	ret[3] = (struct part){f->kernel, sizeof(*f->kernel)};
	ret[4] = (struct part){f->outliers, f->n_replicas * sizeof(*f->outliers)};
	ret[5] = (struct part){f->service_states, f->n_services * sizeof(*f->service_states)};
	ret[6] = (struct part){f->pending, PENDING_ROWS * sizeof(*f->pending)};
}

static void read_counts(struct fixture *f, uint64_t counts[COUNTS])
{
	for (int i = 0; i < SL_DROP_MAX; i++)
		counts[i] = fixture_drops(f, i);
	for (int i = 0; i < SL_COUNT_MAX; i++)
		counts[SL_DROP_MAX + i] = fixture_counter(f, i);
}

struct twin_snapshot *twin_snapshot_new(struct fixture *f)
{
	struct twin_snapshot *s = malloc(sizeof(*s));
	struct part live[PARTS];

	if (!s)
		fixture_die("snapshot", ENOMEM);
	list_parts(f, live);
	for (int i = 0; i < PARTS; i++) {
		s->copy[i] = (struct part){malloc(live[i].len), live[i].len};
		if (!s->copy[i].memory)
			fixture_die("snapshot", ENOMEM);
		memcpy(s->copy[i].memory, live[i].memory, live[i].len);
	}
	read_counts(f, s->counts);
	return s;
}

void twin_snapshot_restore(struct fixture *f, const struct twin_snapshot *s)
{
	struct part live[PARTS];

	list_parts(f, live);
	for (int i = 0; i < PARTS; i++)
		memcpy(live[i].memory, s->copy[i].memory, live[i].len);
}

void twin_snapshot_free(struct twin_snapshot *s)
{
	for (int i = 0; i < PARTS; i++)
		free(s->copy[i].memory);
	free(s);
}

static bool is_near(__u32 a, __u32 b)
{
	return abs((int)(a - b)) < (int)TWIN_UNSEEN;
}

/* The same flow, but for what XDP leaves to the next packet that TC sees: when that was. */
static bool flow_equal(struct sl_flow a, const struct sl_flow *b)
{
	if (is_near(a.last_seen, b->last_seen))
		a.last_seen = b->last_seen;
	if (!a.request == !b->request && is_near(a.request, b->request))
		a.request = b->request;
	return !memcmp(&a, b, sizeof(a));
}

static bool flows_equal(const struct sl_flow *a, const struct sl_flow *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!flow_equal(a[i], &b[i]))
			return false;
	return true;
}

/* The two programs run one after the other, so that a port may be freed a tick later. */
static bool ports_equal(const struct sl_snat *a, const struct sl_snat *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct sl_snat one = a[i];

		if (is_near(one.freed, b[i].freed))
			one.freed = b[i].freed;
		if (memcmp(&one, &b[i], sizeof(one)))
			return false;
	}
	return true;
}

/* The number of the first part that differs; -1: none. `times`: but for times. */
static int parts_differ(struct fixture *f, const struct twin_snapshot *s, bool times)
{
	struct part live[PARTS];

	list_parts(f, live);
	for (int i = 0; i < PARTS; i++) {
		const void *copy = s->copy[i].memory, *memory = live[i].memory;
		size_t len = live[i].len;

		if (!memcmp(copy, memory, len) ||
		    (times && i == FLOWS && flows_equal(copy, memory, len / sizeof(struct sl_flow))) ||
		    (times && i == PORTS && ports_equal(copy, memory, len / sizeof(struct sl_snat))))
			continue;
		return i;
	}
	return -1;
}

/* ---- both programs ----------------------------------------------------------------------- */

static const char *passed_by_xdp(struct fixture *f, const struct twin_snapshot *before,
				 const struct fixture_result *xdp)
{
	uint64_t counts[COUNTS];

	read_counts(f, counts);
	if (xdp->out.len != xdp->in.len || memcmp(xdp->out.data, xdp->in.data, xdp->in.len))
		return "passed, but changed";
	if (parts_differ(f, before, false) >= 0)
		return "passed, but the tables changed";
	if (memcmp(counts, before->counts, sizeof(counts)))
		return "passed, but counted";
	return NULL;
}

/* Sent by XDP: TC runs on the tables as they were. */
static const char *finished_by_xdp(struct fixture *f, const struct twin_snapshot *before,
				   const struct fixture_result *xdp, struct fixture_result *tc)
{
	struct twin_snapshot *after;
	uint64_t counts[COUNTS];
	int differs;

	read_counts(f, counts);
	counts[SL_DROP_MAX + SL_COUNT_XDP]--;
	if (memcmp(counts, before->counts, sizeof(counts)))
		return "the packet is not counted once, as XDP's";
	if (memcmp(xdp->out.data, packet_mac_a, 6) || memcmp(xdp->out.data + 6, packet_mac_b, 6))
		return "not the MAC addresses of the way out";
	after = twin_snapshot_new(f);
	twin_snapshot_restore(f, before);
	fixture_send_built(f, FROM_UPLINK, tc);
	differs = parts_differ(f, after, true);
	twin_snapshot_free(after);
	if (tc->verdict != REDIRECT)
		return "TC does not send it on";
	if (tc->out.len != xdp->out.len ||
	    memcmp(tc->out.data + 12, xdp->out.data + 12, xdp->out.len - 12))
		return "TC sends other bytes";
	return differs < 0 ? NULL : "TC leaves other tables";
}

const char *twin_send(struct fixture *f, struct fixture_result *ret)
{
	static struct fixture_result tc;
	struct twin_snapshot *before = twin_snapshot_new(f);
	const char *wrong;

	tc.in = ret->in;
	fixture_send_built(f, XDP_UPLINK, ret);
	if (ret->verdict == XDP_PASS) {
		wrong = passed_by_xdp(f, before, ret);
		fixture_send_built(f, FROM_UPLINK, &tc);
	} else if (ret->verdict == XDP_TX) {
		wrong = finished_by_xdp(f, before, ret, &tc);
		memcpy(ret->out.data, ret->in.data, 12);
		packet_format(&ret->out, ret->text);
	} else {
		wrong = "neither passed nor sent";
	}
	twin_snapshot_free(before);
	return wrong;
}

const char *twin_send_line(struct fixture *f, const char *line, struct fixture_result *ret)
{
	char text[PACKET_TEXT_LEN];

	if (packet_build(fixture_expand(f, line, text), &ret->in))
		fixture_die(text, EINVAL);
	return twin_send(f, ret);
}

bool twin_row(struct fixture *f, const struct twin_row *row)
{
	static struct fixture_result xdp;
	char text[PACKET_TEXT_LEN];
	const char *wrong = twin_send_line(f, row->in, &xdp);

	if (!wrong && !row->out != (xdp.verdict == XDP_PASS))
		wrong = row->out ? "passed" : "not passed";
	if (!wrong && row->out && strcmp(xdp.text, fixture_expand(f, row->out, text)))
		wrong = "XDP and TC send something else";
	if (wrong)
		printf("  [%s%s] %s: %s (XDP: %d, %s)\n", f->v6 ? "v6" : "v4",
		       f->complete ? ", complete" : "", row->in, wrong, xdp.verdict, xdp.text);
	return !wrong;
}

bool twin_rows(struct fixture *f, const struct twin_row *rows, size_t n)
{
	bool good = true;

	for (size_t i = 0; i < n; i++)
		good &= twin_row(f, &rows[i]);
	return good;
}
