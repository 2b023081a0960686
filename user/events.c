// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes the event ring, the agent's memory of what it did and why: it is
 * pinned, so it survives the agent. Each event is also a line of the log.
 * Refuses nothing: an unknown kind is written as it is. The kernel programs and the
 * CLI write there too: what they say is read again, to be logged. Called by the agent.
 */
#include "events.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "log.h"

#define EVENT_TEXT_MAX 1024

static const char *const event_names[] = {SL_EVENTS(SL_NAME_ROW)};
static const char *const state_names[] = {SL_REPLICA_STATES(SL_NAME_ROW)};

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How much of `text` fits into `max` bytes without cutting a UTF-8 sequence in two. */
static size_t text_cut(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max)
		return len;
	for (len = max; len && ((unsigned char)text[len] & 0xc0) == 0x80; len--)
		;
	return len;
}

/* The row of event number `seq`; NULL: there is no ring, or it cannot be mapped just now. */
static struct sl_event *ring_row(struct events *events, uint64_t seq)
{
	size_t page = sysconf(_SC_PAGESIZE), at = seq % SL_MAX_EVENTS * sizeof(struct sl_event);
	void *memory;

	if (events->ring)
		return &events->ring[seq % SL_MAX_EVENTS];
	if (!events->window || events->window_at != at / page * page) {
		memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, events->ring_fd,
			      at / page * page);
		if (memory == MAP_FAILED)
			return NULL;
		events_done(events);
		events->window = memory;
		events->window_at = at / page * page;
	}
	return (struct sl_event *)((char *)events->window + at % page);
}

void events_done(struct events *events)
{
	if (events->window)
		munmap(events->window, sysconf(_SC_PAGESIZE));
	events->window = NULL;
}

/* seq is 0 while the row is written: a reader that finds the same seq before and after its copy
 * has read one event, whole. False: there is no ring, or it cannot be mapped just now. */
static bool ring_write(struct events *events, const struct sl_event *event, const char *text)
{
	struct sl_event *row;
	uint64_t seq;

	if (!events->head)
		return false;
	seq = __atomic_add_fetch(&events->head->last, 1, __ATOMIC_ACQ_REL);
	row = ring_row(events, seq);
	if (event->kind < SL_MAX_EVENT_KINDS)
		__atomic_add_fetch(&events->head->kinds[event->kind], 1, __ATOMIC_RELAXED);
	if (!row)
		return false;
	__atomic_store_n(&row->seq, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	row->time_ns = realtime_ns();
	row->kind = event->kind;
	row->port = event->port;
	row->service = event->service;
	row->value = event->value;
	row->epoch = events->maps && event->service ?
			     events->maps->services[event->service - 1].epoch : 0;
	row->addr = event->addr;
	memset(row->text, 0, sizeof(row->text));
	memcpy(row->text, text, text_cut(text, sizeof(row->text) - 1));
	__atomic_store_n(&row->seq, seq, __ATOMIC_RELEASE);
	return true;
}

/* " namespace/name port" or "" */
static void service_format(const struct events *events, uint32_t service, char *buf, size_t len)
{
	struct sl_service_name name;

	buf[0] = '\0';
	if (!service)
		return;
	if (!events->maps || !maps_service_name(events->maps, service - 1, &name))
		snprintf(buf, len, " service row %u", service - 1);
	else if (name.port_name[0])
		snprintf(buf, len, " %s port %s", name.service, name.port_name);
	else
		snprintf(buf, len, " %s port %u", name.service, ntohs(name.port));
}

/* " 10.0.0.1:8000" or "" */
static void replica_format(const struct sl_event *event, char *buf, size_t len)
{
	static const union sl_addr none;
	char text[ADDR_PORT_STR_LEN];

	buf[0] = '\0';
	if (!addr_equal(&event->addr, &none))
		snprintf(buf, len, " %s", addr_format_port(&event->addr, event->port, text));
}

static void log_write(const struct events *events, const struct sl_event *event, const char *text)
{
	bool loud = event->kind == SL_EVENT_PANIC || event->kind == SL_EVENT_CONFIG_REFUSED ||
		    event->kind == SL_EVENT_DOUBT || event->kind == SL_EVENT_FREEZE ||
		    event->kind == SL_EVENT_ENDPOINTS_DOUBTED;
	bool asked = event->kind == SL_EVENT_NO_XDP && event->value;
	const char *kind = event->kind < SL_EVENT_MAX ? event_names[event->kind] : "event";
	char service[SL_NAME_LEN + 80], replica[ADDR_PORT_STR_LEN + 1];
	bool named = event->kind == SL_EVENT_SERVICE_ADD || event->kind == SL_EVENT_SERVICE_DEL;
	const char *state = "";

	if (event->kind == SL_EVENT_REPLICA_STATE && event->value < SL_STATE_MAX)
		state = state_names[event->value];
	/* The text of these two names it. */
	service_format(events, named ? 0 : event->service, service, sizeof(service));
	replica_format(event, replica, sizeof(replica));
	log_at(asked ? LOG_LEVEL_ERROR : loud ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, kind,
	       "%s%s%s%s%s%s%s", kind, service, replica, state[0] ? " " : "", state,
	       text[0] ? ": " : "", text);
}

/* Kinds that others write: the programs, and the CLI. They are logged when they are read from the ring,
 * whoever wrote them. Of those of the CLI a freeze is not: the agent watches what is frozen itself. */
static bool is_followed(const struct sl_event *event)
{
	return event->kind == SL_EVENT_EJECT || event->kind == SL_EVENT_EJECT_END ||
	       event->kind == SL_EVENT_EJECT_SPARED || event->kind == SL_EVENT_RETRY ||
	       event->kind == SL_EVENT_HAND_BACK;
}

void events_add(struct events *events, const struct sl_event *event, const char *format, ...)
{
	char text[EVENT_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!ring_write(events, event, text) || !is_followed(event))
		log_write(events, event, text);
}

/* ---- what others say ------------------------------------------------------------------------*/

#define NS_PER_S 1000000000ull

/* A copy of event number `seq`. 0; -EAGAIN: not written yet; -ENOENT: overwritten, or unreadable. */
static int ring_read(struct events *events, uint64_t seq, struct sl_event *ret)
{
	struct sl_event *row = ring_row(events, seq);
	uint64_t found;

	if (!row)
		return -ENOENT;
	found = __atomic_load_n(&row->seq, __ATOMIC_ACQUIRE);
	if (found == seq) {
		memcpy(ret, row, sizeof(*ret));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		found = __atomic_load_n(&row->seq, __ATOMIC_RELAXED);
		ret->text[sizeof(ret->text) - 1] = '\0';
	}
	if (found == seq)
		return 0;
	return found > seq ? -ENOENT : -EAGAIN;
}

/* With how long ago it was, when no agent was there to say so at once. */
static void log_late(const struct events *events, const struct sl_event *event)
{
	int64_t age_ns = realtime_ns() - event->time_ns;
	char text[sizeof(event->text) + 32];

	if (age_ns > (int64_t)(2 * NS_PER_S))
		snprintf(text, sizeof(text), "%s (%llu s ago)", event->text,
			 (unsigned long long)(age_ns / NS_PER_S));
	else
		snprintf(text, sizeof(text), "%s", event->text);
	log_write(events, event, text);
}

bool events_follow(struct events *events)
{
	bool any = false;
	struct sl_event_head *head = events->head;
	uint64_t last, next;

	if (!head)
		return false;
	last = __atomic_load_n(&head->last, __ATOMIC_ACQUIRE);
	next = head->followed + 1;
	if (last >= next + SL_MAX_EVENTS)
		next = last - SL_MAX_EVENTS + 1;
	for (; next <= last; next++) {
		struct sl_event event;
		int error = ring_read(events, next, &event);

		if (error == -EAGAIN && events->waited != next) {
			events->waited = next;
			break;
		}
		if (error || !is_followed(&event))
			continue;
		log_late(events, &event);
		any = true;
	}
	head->followed = next - 1;
	return any;
}
