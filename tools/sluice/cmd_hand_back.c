// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice hand-back`: leaves a service's new flows to kube-proxy, and waits until those that Sluice steers
 * are over. Stores the one word of a VIP's row that belongs to the CLI (sl_vip.admin), so it works with
 * the agent dead and cannot race with it. Breaks no flow, whatever the deadline; writes nothing else
 * but events.
 */
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "duration.h"
#include "store.h"
#include "view.h"

#define DEFAULT_S 300ull
#define NS_PER_S 1000000000ull
#define LOOK_MS 200 /* between two looks at the flow table */

static const struct out_column columns[] = {
	{"service", "service", OUT_STRING},
	{"handed_back", "handed back", OUT_BOOL},
	{"flows_left", "flows left", OUT_UINT},
	{"parked_left", "of these, parked", OUT_UINT},
	{"inflight", "in flight to its replicas", OUT_UINT},
	{"waited_s", "waited, s", OUT_REAL},
	{},
};

struct hand_back {
	struct cli *cli;
	struct view view;
	const char *name; /* as given */
	char service[SL_NAME_LEN]; /* namespace/name */
	bool replace;     /* nobody else serves it */
	bool undo, force;
	uint64_t wait_ns;
	struct sl_vip *vips; /* writable */
	unsigned changed;    /* VIPs whose word was another */
	__u32 row;           /* of the service of one */
};

/* What Sluice has of the service still. */
struct left {
	uint64_t flows;
	uint64_t parked;   /* of these */
	uint64_t inflight; /* to replicas that are no other service's */
};

/* ---- the word ------------------------------------------------------------------------*/

static bool is_its(const struct hand_back *job, __u32 row)
{
	return view_service_matches(&job->view, row, job->service);
}

/* Whether the row is a VIP that the command is for: none that has come to replace mode unasked. */
static bool is_its_vip(const struct hand_back *job, const struct sl_vip *vip)
{
	if ((vip->flags & (SL_VIP_USED | SL_VIP_NO_NEW)) != SL_VIP_USED || !is_its(job, vip->service))
		return false;
	return job->undo || job->replace ||
	       !(job->view.maps.services[vip->service].flags & SL_SERVICE_REPLACE);
}

/* Of how many VIPs. */
static unsigned store_word(struct hand_back *job)
{
	unsigned found = 0;

	for (__u32 i = 0; i < job->view.maps.n_vips; i++) {
		struct sl_vip *vip = &job->vips[i];
		__u32 old;

		if (!is_its_vip(job, vip))
			continue;
		old = job->undo ? __atomic_fetch_and(&vip->admin, ~SL_ADMIN_HANDED_BACK,
						     __ATOMIC_RELEASE) :
				  __atomic_fetch_or(&vip->admin, SL_ADMIN_HANDED_BACK,
						    __ATOMIC_RELEASE);
		job->changed += !(old & SL_ADMIN_HANDED_BACK) != job->undo;
		job->row = vip->service;
		found++;
	}
	return found;
}

/* For VIPs that joined since: an agent in the middle of a change gives them the word as it was before ours.
 * After the first time only while the word stands at some VIP: else somebody has taken it back. */
static void store_again(struct hand_back *job, bool first)
{
	bool stands = first;

	view_refresh(&job->view);
	for (__u32 i = 0; i < job->view.maps.n_vips && !stands; i++)
		stands = is_its_vip(job, &job->vips[i]) &&
			 !(job->vips[i].admin & SL_ADMIN_HANDED_BACK) == job->undo;
	if (stands)
		store_word(job);
}

/* ---- what is left --------------------------------------------------------------------*/

static void count_flow(const struct hand_back *job, const struct sl_flow *flow, struct left *left)
{
	__u32 phase = SL_FLOW_PHASE(flow->state);

	if (flow->key.flags & SL_FLOW_OWNED ||
	    (phase != SL_FLOW_SYN && phase != SL_FLOW_OPEN && phase != SL_FLOW_PARKED) ||
	    !is_its(job, flow->key.service))
		return;
	left->flows++;
	left->parked += phase == SL_FLOW_PARKED;
}

/* As `flow show` walks it; an LRU that evicts under the walk starts it over: bounded. */
static void count_spilled(const struct hand_back *job, struct left *left)
{
	int fd = job->view.maps.spill_fd;
	struct sl_flow_key key, next;
	struct sl_flow flow;
	bool more = !bpf_map_get_next_key(fd, NULL, &next);

	for (__u32 i = 0; more && i < 2 * SL_MAX_SPILL; i++) {
		if (!bpf_map_lookup_elem(fd, &next, &flow))
			count_flow(job, &flow, left);
		key = next;
		more = !bpf_map_get_next_key(fd, &key, &next);
	}
}

/* The count holds flows that a pick has just begun, and the table does not show yet. */
static void count_inflight(const struct hand_back *job, struct left *left)
{
	for (__u32 row = 0; row < job->view.maps.n_replicas; row++) {
		const struct sl_replica_services *of = &job->view.maps.replica_services[row];
		const struct sl_replica *replica = &job->view.maps.replicas[row];
		__u32 n = of->n < SL_MAX_SHARED ? of->n : SL_MAX_SHARED, its = 0;
		__s32 inflight = __atomic_load_n(&replica->state.inflight, __ATOMIC_RELAXED);

		if (!(replica->config.flags & SL_REPLICA_USED) || inflight <= 0)
			continue;
		for (__u32 i = 0; i < n; i++)
			its += is_its(job, of->service[i]);
		if (n && its == n)
			left->inflight += inflight;
	}
}

static struct left count_left(const struct hand_back *job)
{
	struct left left = {};
	struct sl_flow flow;

	for (__u32 set = 0; set < job->view.maps.n_flow_sets; set++)
		for (__u32 way = 0; way < SL_FLOW_WAYS; way++)
			if (maps_read_flow(&job->view.maps, set, way, &flow))
				count_flow(job, &flow, &left);
	count_spilled(job, &left);
	count_inflight(job, &left);
	return left;
}

static void show_progress(const struct left *left, uint64_t left_ns)
{
	if (isatty(STDERR_FILENO))
		dprintf(STDERR_FILENO, "\r\033[K%llu flows left, %llu of them parked; %llu s to go",
			(unsigned long long)left->flows, (unsigned long long)left->parked,
			(unsigned long long)(left_ns / NS_PER_S));
}

/* Until nothing is left at two looks in a row (a packet under way may have read the word before it was
 * stored), the deadline, or Ctrl-C; one look at least. */
static struct left wait_for_none(struct hand_back *job, int stop)
{
	struct pollfd fd = {.fd = stop, .events = POLLIN};
	uint64_t began = view_now_ns(), waited = 0;
	struct left left = count_left(job);
	unsigned none = 0;
	bool stopped;

	do {
		none = left.flows || left.inflight ? 0 : none + 1;
		if (none == 2)
			break;
		if (job->wait_ns)
			show_progress(&left, job->wait_ns - waited);
		stopped = poll(&fd, 1, LOOK_MS);
		store_again(job, !waited);
		left = count_left(job);
		waited = view_now_ns() - began;
	} while (!stopped && waited < job->wait_ns);
	if (isatty(STDERR_FILENO))
		dprintf(STDERR_FILENO, "\r\033[K");
	return left;
}

/* ---- the command ---------------------------------------------------------------------*/

/* Finds out which service is meant. CLI_OK, CLI_FAILED. */
static int find_service(struct hand_back *job)
{
	int status = view_expect_service(&job->view, job->name);

	for (__u32 row = 0; row < job->view.maps.n_services && !status; row++) {
		const struct sl_service_name *name = view_service_name(&job->view, row);

		if (!name || !view_service_matches(&job->view, row, job->name))
			continue;
		if (*job->service && strcmp(job->service, name->service))
			return cli_error("%s may be %s or %s: name the namespace too", job->name,
					 job->service, name->service);
		memcpy(job->service, name->service, sizeof(job->service));
		job->replace |= job->view.maps.services[row].flags & SL_SERVICE_REPLACE;
	}
	return status;
}

static int say(const struct hand_back *job, const struct left *left, const char *what)
{
	struct sl_event event = {.kind = SL_EVENT_HAND_BACK, .service = job->row + 1,
				 .value = left->flows};

	return store_event(job->cli, &job->view.maps, &event, "%s", what);
}

static int show(struct hand_back *job, const struct left *left, uint64_t began)
{
	struct out *out = job->cli->out;

	out_begin_record(out, columns);
	out_string(out, job->service);
	out_bool(out, !job->undo);
	out_uint(out, left->flows);
	out_uint(out, left->parked);
	out_uint(out, left->inflight);
	out_real(out, (double)(view_now_ns() - began) / NS_PER_S);
	out_row(out);
	if (!job->undo)
		out_note(out, job->replace ? "its new connections are refused on this node, until: "
					     "sluice hand-back --undo %s" :
					     "its new connections are kube-proxy's on this node, until: "
					     "sluice hand-back --undo %s", job->service);
	return cli_finish(job->cli);
}

/* The word, for the first time. CLI_OK, CLI_FAILED. */
static int begin(struct hand_back *job)
{
	return store_word(job) ? CLI_OK : cli_error("%s has no VIP here any more", job->service);
}

static int hand_back(struct hand_back *job)
{
	uint64_t began = view_now_ns();
	int stop = cli_catch_stop(), status;
	struct left left;

	if (stop < 0)
		return CLI_FAILED;
	status = begin(job);
	left = count_left(job);
	if (!status && job->changed)
		status = say(job, &left, job->replace ? "new flows are refused; Sluice's own go on" :
							"new flows are kube-proxy's; Sluice's own go on");
	if (!status)
		left = wait_for_none(job, stop);
	close(stop);
	if (!status)
		status = say(job, &left, left.flows ? "given back with flows left, which go on" :
						      "given back: no flow is left");
	if (!status)
		status = show(job, &left, began);
	if (!status && left.flows && job->wait_ns)
		return cli_error("%s: %llu flows are left, which Sluice steers until they end; see: "
				 "sluice flow show %s", job->service,
				 (unsigned long long)left.flows, job->service);
	return status;
}

static int undo(struct hand_back *job)
{
	uint64_t began = view_now_ns();
	int status = begin(job);
	struct left left;

	if (status)
		return status;
	left = count_left(job);
	if (job->changed)
		status = say(job, &left, "undone: new flows are Sluice's again");
	poll(NULL, 0, LOOK_MS);
	store_again(job, true);
	return status ? status : show(job, &left, began);
}

static int run(struct hand_back *job)
{
	int status = view_open(job->cli, &job->view);
	size_t size;

	if (status)
		return status;
	status = find_service(job);
	if (!status && job->replace && !job->undo && !job->force)
		status = cli_error("%s is in replace mode: nobody else serves it, its new connections "
				   "would be refused. First give it to kube-proxy: take the label "
				   "service.kubernetes.io/service-proxy-name off and set "
				   "sluice.dev/steer: enabled. Refuse them all the same: --force",
				   job->service);
	size = job->view.maps.n_vips * sizeof(*job->vips);
	if (!status)
		status = store_map(job->cli, "vips", size, &job->vips);
	if (!status) {
		status = job->undo ? undo(job) : hand_back(job);
		munmap(job->vips, size);
	}
	view_close(&job->view);
	return status;
}

int cmd_hand_back(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {{"timeout", required_argument, NULL, 't'},
						{"undo", no_argument, NULL, 'u'},
						{"force", no_argument, NULL, 'f'},
						{}};
	struct hand_back job = {.cli = cli, .wait_ns = DEFAULT_S * NS_PER_S};
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 't' && duration_parse(optarg, &job.wait_ns))
			return cli_usage(cli, "%s: not a duration such as 30s, 10m or 2h", optarg);
		if (opt != 't' && opt != 'u' && opt != 'f')
			return cli_usage(cli, "%s: no such option, or it lacks its value",
					 argv[optind - 1]);
		job.undo |= opt == 'u';
		job.force |= opt == 'f';
	}
	if (optind == argc)
		return cli_usage(cli, "%s: which service?", cli->path);
	if (optind + 1 != argc)
		return cli_usage(cli, "too many words");
	job.name = argv[optind];
	return run(&job);
}
