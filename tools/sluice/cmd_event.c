// SPDX-License-Identifier: GPL-2.0-only
/*
 * `sluice event`: reads the event ring, which outlives the agent. The agent
 * goes on writing meanwhile: rows overwritten before they were read are counted
 * and said. Reads only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "duration.h"
#include "view.h"

#define POLL_MS 100
#define TIME_LEN sizeof("2024-05-01T12:00:00.123Z")

static const char *const event_names[] = {SL_EVENTS(SL_NAME_ROW)};

/* Headings as wide as the usual cell: rows of `watch` come one by one and should line up. */
static const struct out_column columns[] = {
	{"seq", NULL, OUT_UINT},
	{"time", "TIME                    ", OUT_STRING},
	{"event", "EVENT         ", OUT_STRING},
	{"service", "SERVICE             ", OUT_STRING},
	{"service_port", "PORT", OUT_STRING},
	VIEW_ENDPOINT_COLUMNS("REPLICA           ", "address", "port"),
	{"state", "STATE   ", OUT_STATE},
	{"value", NULL, OUT_UINT},
	{"text", "WHAT", OUT_STRING},
	{},
};

/* RFC 3339, UTC, with milliseconds. */
static const char *format_time(uint64_t ns, char buf[TIME_LEN])
{
	time_t seconds = ns / 1000000000;
	struct tm tm;
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(buf, TIME_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + len, TIME_LEN - len, ".%03uZ", (unsigned)(ns / 1000000 % 1000));
	return buf;
}

/* Whether the event's service is still the one that has its row. */
static bool has_service(const struct view *view, const struct sl_event *event)
{
	return event->service && event->service <= view->maps.n_services &&
	       view->maps.services[event->service - 1].epoch == event->epoch;
}

/* Whether the event has a figure of its own (names.h says what it means). */
static bool has_value(const struct sl_event *event)
{
	return event->kind == SL_EVENT_EJECT || event->kind == SL_EVENT_EJECT_SPARED ||
	       event->kind == SL_EVENT_RETRY || event->kind == SL_EVENT_RESET ||
	       event->kind == SL_EVENT_HAND_BACK || event->kind == SL_EVENT_ROUTE_MOVED ||
	       event->kind == SL_EVENT_ENDPOINTS_DOUBTED || event->kind == SL_EVENT_ENDPOINTS_SETTLED;
}

static void put_event(const struct view *view, struct out *out, const struct sl_event *event)
{
	static const union sl_addr no_addr;
	char time[TIME_LEN];

	out_uint(out, event->seq);
	out_string(out, format_time(event->time_ns, time));
	out_string(out, event->kind < SL_EVENT_MAX ? event_names[event->kind] : NULL);
	if (has_service(view, event))
		view_put_service(view, out, view_service_row(view, event->service - 1));
	else
		view_put_no_service(out);
	if (memcmp(&event->addr, &no_addr, sizeof(no_addr)))
		view_put_endpoint(out, &event->addr, event->port);
	else
		view_put_no_endpoint(out);
	if (event->kind == SL_EVENT_REPLICA_STATE && event->value < SL_STATE_MAX)
		out_string(out, view_state(event->value));
	else
		out_null(out);
	if (has_value(event))
		out_uint(out, event->value);
	else
		out_null(out);
	out_string(out, event->text);
	out_row(out);
}

static uint64_t last_event(const struct maps *maps)
{
	return __atomic_load_n(&maps->event_head->last, __ATOMIC_ACQUIRE);
}

/* The oldest event that the ring may still hold, when `last` is the newest. */
static uint64_t oldest_event(const struct maps *maps, uint64_t last)
{
	return last > maps->n_events ? last - maps->n_events + 1 : 1;
}

/* ---- show -----------------------------------------------------------------------------*/

struct window {
	uint64_t since_ns; /* CLOCK_REALTIME */
	uint64_t count;    /* at most so many, the newest */
};

static int parse_window(struct cli *cli, int argc, char **argv, struct window *ret)
{
	static const struct option options[] = {{"since", required_argument, NULL, 's'}, {}};
	struct window window = {.count = UINT64_MAX};
	struct timespec now;
	uint64_t ago_ns;
	char *end;
	int option;

	clock_gettime(CLOCK_REALTIME, &now);
	opterr = 0;
	while ((option = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
		if (option == 's') {
			if (duration_parse(optarg + (*optarg == '-'), &ago_ns))
				return cli_usage(cli, "--since %s: not an age such as -30m, -2h or "
						 "-10s", optarg);
			window.since_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
			window.since_ns -= ago_ns < window.since_ns ? ago_ns : window.since_ns;
		} else if (option == 'n') {
			window.count = strtoull(optarg, &end, 10);
			if (*end || end == optarg || *optarg == '-')
				return cli_usage(cli, "-n %s: not a number", optarg);
		} else {
			return cli_usage(cli, "no such option, or its value is missing: %s",
					 argv[optind - 1]);
		}
	}
	if (optind < argc)
		return cli_usage(cli, "%s: not an option", argv[optind]);
	*ret = window;
	return CLI_OK;
}

/* The first event to show: events are in the order of their time. */
static uint64_t first_event(const struct maps *maps, const struct window *window, uint64_t last)
{
	uint64_t first = oldest_event(maps, last);
	struct sl_event event;

	for (; first <= last; first++)
		if (!maps_read_event(maps, first, &event) && event.time_ns >= window->since_ns)
			break;
	if (first <= last && last - first >= window->count)
		first = last - window->count + 1;
	return first;
}

static int event_show(struct cli *cli, int argc, char **argv)
{
	struct window window = {0};
	struct sl_event event;
	struct view view;
	uint64_t last;
	int status = parse_window(cli, argc, argv, &window);

	if (status)
		return status;
	status = view_open(cli, &view);
	if (status)
		return status;
	last = last_event(&view.maps);
	out_begin(cli->out, columns);
	for (uint64_t seq = first_event(&view.maps, &window, last); seq <= last; seq++)
		if (!maps_read_event(&view.maps, seq, &event))
			put_event(&view, cli->out, &event);
	status = cli_finish(cli);
	view_close(&view);
	return status;
}

/* ---- watch ----------------------------------------------------------------------------*/

struct watch {
	uint64_t next;    /* the event to show next */
	uint64_t waited;  /* for this one, which was counted but not written at the last look */
	uint64_t lost;
};

/* Shows what came since the last look. */
static void watch_look(struct watch *watch, struct view *view, struct out *out)
{
	uint64_t last = last_event(&view->maps), oldest = oldest_event(&view->maps, last);
	struct sl_event event;
	int err;

	if (watch->next > last)
		return;
	view_refresh(view);
	if (watch->next < oldest) {
		watch->lost += oldest - watch->next;
		watch->next = oldest;
	}
	for (; watch->next <= last; watch->next++) {
		err = maps_read_event(&view->maps, watch->next, &event);
		if (err == -EAGAIN && watch->waited != watch->next) {
			watch->waited = watch->next;
			break;
		}
		if (err)
			watch->lost++;
		else
			put_event(view, out, &event);
	}
	if (watch->lost)
		cli_error("%llu events were overwritten before they could be shown",
			  (unsigned long long)watch->lost);
	watch->lost = 0;
}

static bool is_still_pinned(const struct cli *cli)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/event_head", cli->bpffs);
	return !access(path, F_OK);
}

static int event_watch(struct cli *cli, int argc, char **argv)
{
	struct pollfd stop = {.events = POLLIN};
	struct watch watch = {0};
	struct view view;
	bool pinned = true;
	int status = cli_args(cli, argc, argv, 0, 0);

	if (status)
		return status;
	status = view_open(cli, &view);
	if (status)
		return status;
	watch.next = last_event(&view.maps) + 1;
	stop.fd = cli_catch_stop();
	if (stop.fd < 0) {
		view_close(&view);
		return CLI_FAILED;
	}
	out_begin(cli->out, columns);
	do {
		watch_look(&watch, &view, cli->out);
		pinned = is_still_pinned(cli);
	} while (!out_flush(cli->out) && pinned && poll(&stop, 1, POLL_MS) == 0);
	status = cli_finish(cli);
	if (!pinned)
		status = cli_error("Sluice was unloaded: no more events will come from this ring");
	close(stop.fd);
	view_close(&view);
	return status;
}

const struct cmd event_commands[] = {
	{.name = "show", .fn = event_show, .args = "[--since -AGE] [-n COUNT]",
	 .help = "what the agent saw and did, oldest first",
	 .more = "sluice(8) explains each event: EVENTS",
	 .examples = "sluice event show --since -30m\nsluice event show -n 20\n"},
	{.name = "watch", .fn = event_watch, .args = "",
	 .help = "new events as they come, until Ctrl-C",
	 .more = "sluice(8) explains each event: EVENTS",
	 .examples = "sluice event watch\n"},
	{},
};
