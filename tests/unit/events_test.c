// SPDX-License-Identifier: GPL-2.0-only
/* The event ring and the log lines that go with it. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "check.h"
#include "events.h"
#include "log.h"

static struct events events_new(void)
{
	struct events events = {
		.ring = calloc(SL_MAX_EVENTS, sizeof(struct sl_event)),
		.head = calloc(1, sizeof(struct sl_event_head)),
	};

	CHECK(events.ring && events.head);
	return events;
}

static void events_free(struct events *events)
{
	free(events->ring);
	free(events->head);
}

static struct sl_event replica_event(enum sl_replica_state state)
{
	struct sl_event event = {.kind = SL_EVENT_REPLICA_STATE, .service = 3, .value = state};

	CHECK_INT(addr_parse_port("10.0.0.1:8000", &event.addr, &event.port), 0);
	return event;
}

/* stderr goes to a temporary file from here on; until capture_end() gives what was written. */
static FILE *capture_file;
static int capture_saved;

static void capture_begin(void)
{
	capture_file = tmpfile();
	capture_saved = dup(STDERR_FILENO);
	dup2(fileno(capture_file), STDERR_FILENO);
	log_init(LOG_LEVEL_INFO, false);
}

static const char *capture_end(void)
{
	static char text[4096];

	dup2(capture_saved, STDERR_FILENO);
	close(capture_saved);
	rewind(capture_file);
	text[fread(text, 1, sizeof(text) - 1, capture_file)] = '\0';
	fclose(capture_file);
	log_init(LOG_LEVEL_ERROR, false);
	return text;
}

TEST(row_is_filled)
{
	struct sl_event event = replica_event(SL_STATE_DOWN);
	struct events events = events_new();
	struct sl_event *row = &events.ring[1];
	uint64_t now = time(NULL);

	log_init(LOG_LEVEL_ERROR, false);
	events_add(&events, &event, "tcp: %s, %d of %d", "refused", 3, 3);
	CHECK_INT(events.head->last, 1);
	CHECK_INT(row->seq, 1);
	CHECK_INT(row->kind, SL_EVENT_REPLICA_STATE);
	CHECK_INT(row->service, 3);
	CHECK_INT(row->value, SL_STATE_DOWN);
	CHECK_INT(ntohs(row->port), 8000);
	CHECK(addr_equal(&row->addr, &event.addr));
	CHECK_STR(row->text, "tcp: refused, 3 of 3");
	CHECK(row->time_ns / 1000000000 >= now && row->time_ns / 1000000000 <= now + 5);
	events_free(&events);
}

TEST(ring_wraps_and_numbers_go_on)
{
	struct sl_event event = {.kind = SL_EVENT_ATTACH};
	struct events events = events_new();

	log_init(LOG_LEVEL_ERROR, false);
	events.head->last = SL_MAX_EVENTS - 1;
	events_add(&events, &event, "a long text that the next event of this row must not keep");
	events.head->last += SL_MAX_EVENTS - 1;
	events_add(&events, &event, "short");
	CHECK_INT(events.head->last, 2 * SL_MAX_EVENTS);
	CHECK_INT(events.ring[0].seq, 2 * SL_MAX_EVENTS);
	CHECK_STR(events.ring[0].text, "short");
	for (size_t i = sizeof("short"); i < sizeof(events.ring[0].text); i++)
		CHECK_INT(events.ring[0].text[i], 0);
	events_free(&events);
}

TEST(long_text_is_cut_between_characters)
{
	struct sl_event event = {.kind = SL_EVENT_CONFIG_REFUSED};
	struct events events = events_new();
	size_t fits = sizeof(events.ring[0].text) - 1;
	char text[300];

	log_init(LOG_LEVEL_ERROR, false);
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	events_add(&events, &event, "%s", text);
	CHECK_INT(strlen(events.ring[1].text), fits);
	memcpy(text + fits - 1, "\xe2\x82\xac", 3); /* the euro sign: only its first byte would fit */
	events_add(&events, &event, "%s", text);
	CHECK_INT(strlen(events.ring[2].text), fits - 1);
	CHECK_INT(events.ring[2].text[fits - 2], 'a');
	memcpy(text + fits - 3,
	       "\xe2\x82\xac"
	       "aa",
	       5); /* its last byte is the last that fits */
	events_add(&events, &event, "%s", text);
	CHECK_INT(strlen(events.ring[3].text), fits);
	events_free(&events);
}

/* The ring is what is left after the agent's death: what to do must be in it, not in the log alone. */
TEST(evidence_survives_whole)
{
	static const char refused[] =
		"30-inference.yaml:214: spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors: "
		"must be a whole number from 0 to 4294967295, or be left out; found \"five\"";
	struct sl_event event = {.kind = SL_EVENT_CONFIG_REFUSED};
	struct events events = events_new();

	log_init(LOG_LEVEL_ERROR, false);
	events_add(&events, &event, "%s", refused);
	CHECK_STR(events.ring[1].text, refused);
	events_free(&events);
}

TEST(events_are_counted_by_kind)
{
	struct sl_event panic = {.kind = SL_EVENT_PANIC}, doubt = {.kind = SL_EVENT_DOUBT};
	struct sl_event newer = {.kind = SL_MAX_EVENT_KINDS};
	struct events events = events_new();

	log_init(LOG_LEVEL_ERROR, false);
	events_add(&events, &panic, "%s", "");
	events_add(&events, &doubt, "3 of 3");
	events_add(&events, &panic, "%s", "");
	events_add(&events, &newer, "%s", ""); /* of a version to come: no count of its own */
	CHECK_INT(events.head->last, 4);
	CHECK_INT(events.head->kinds[SL_EVENT_PANIC], 2);
	CHECK_INT(events.head->kinds[SL_EVENT_DOUBT], 1);
	CHECK_INT(events.head->kinds[SL_EVENT_RETRY], 0);
	events_free(&events);
}

TEST(log_says_the_same)
{
	struct sl_event state = replica_event(SL_STATE_SUSPECT);
	struct sl_event start = {.kind = SL_EVENT_AGENT_START};
	struct events events = events_new();
	const char *text;

	capture_begin();
	events_add(&events, &state, "unanswered for %d ms", 300);
	events_add(&events, &start, "fresh");
	text = capture_end();
	CHECK(strstr(text, " info replica_state service row 2 10.0.0.1:8000 suspect: "
			   "unanswered for 300 ms\n"));
	CHECK(strstr(text, " info agent_start: fresh\n"));
	events_free(&events);
}

TEST(a_line_of_json_names_the_kind)
{
	struct sl_event start = {.kind = SL_EVENT_AGENT_START};
	struct events events = events_new();
	const char *text;

	capture_begin();
	log_init(LOG_LEVEL_INFO, true);
	events_add(&events, &start, "fresh");
	text = capture_end();
	CHECK(strstr(text, "\"event\": \"agent_start\", \"message\": \"agent_start: fresh\""));
	events_free(&events);
}

TEST(panic_and_refusal_are_warnings)
{
	struct events events = {0}; /* no ring yet: bad input is met before the maps are there */
	struct sl_event refused = {.kind = SL_EVENT_CONFIG_REFUSED};
	struct sl_event panic = {.kind = SL_EVENT_PANIC, .service = 1};
	const char *text;

	capture_begin();
	events_add(&events, &refused, "a.yaml:3: spec.ports: missing");
	events_add(&events, &panic, "%s", "");
	text = capture_end();
	CHECK(strstr(text, " warn config_refused: a.yaml:3: spec.ports: missing\n"));
	CHECK(strstr(text, " warn panic service row 0\n"));
}

#define WRITERS 4
#define WRITES  5000

static void *write_many(void *context)
{
	struct sl_event event = {.kind = SL_EVENT_ATTACH};

	for (int i = 0; i < WRITES; i++)
		events_add(context, &event, "%d", i);
	return NULL;
}

TEST(writers_never_share_a_row)
{
	struct events events = events_new();
	pthread_t writers[WRITERS];

	log_init(LOG_LEVEL_ERROR, false);
	for (int i = 0; i < WRITERS; i++)
		CHECK_INT(pthread_create(&writers[i], NULL, write_many, &events), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	CHECK_INT(events.head->last, WRITERS * WRITES);
	for (uint64_t seq = 1; seq <= WRITERS * WRITES; seq++)
		CHECK_INT(events.ring[seq % SL_MAX_EVENTS].seq, seq);
	events_free(&events);
}

/* ---- what the programs write -------------------------------------------------------------*/

/* As bpf/event.h writes it, `ago_ns` ago. */
static void program_writes(struct events *events, enum sl_event_kind kind, const char *text,
			   uint64_t ago_ns)
{
	struct timespec now;
	uint64_t seq = ++events->head->last;
	struct sl_event *row = &events->ring[seq % SL_MAX_EVENTS];

	clock_gettime(CLOCK_REALTIME, &now);
	*row = (struct sl_event){.kind = kind, .service = 3, .seq = seq};
	row->time_ns = now.tv_sec * 1000000000ull + now.tv_nsec - ago_ns;
	CHECK_INT(addr_parse_port("10.0.0.1:8000", &row->addr, &row->port), 0);
	snprintf(row->text, sizeof(row->text), "%s", text);
}

TEST(what_programs_write_is_logged_once)
{
	struct sl_event own = {.kind = SL_EVENT_ATTACH};
	struct events events = events_new(), restarted;
	const char *text;

	capture_begin();
	events_add(&events, &own, "eth0");
	program_writes(&events, SL_EVENT_EJECT, "5 of 5 connects failed", 0);
	program_writes(&events, SL_EVENT_EJECT_SPARED, "frozen", 0);
	CHECK(events_follow(&events));
	program_writes(&events, SL_EVENT_EJECT_END, "its time is over", 60 * 1000000000ull);
	CHECK(events_follow(&events));
	CHECK(!events_follow(&events));
	restarted = (struct events){.ring = events.ring, .head = events.head};
	CHECK(!events_follow(&restarted)); /* another agent: nothing twice */
	program_writes(&events, SL_EVENT_RETRY, "refused", 0);
	CHECK(events_follow(&restarted));
	text = capture_end();
	CHECK(strstr(text, " info eject service row 2 10.0.0.1:8000: 5 of 5 connects failed\n"));
	CHECK(strstr(text, " info eject_spared service row 2 10.0.0.1:8000: frozen\n"));
	CHECK(strstr(text, " info eject_end service row 2 10.0.0.1:8000: its time is over (60 s ago)\n"));
	CHECK(strstr(text, " info retry service row 2 10.0.0.1:8000: refused\n"));
	CHECK_INT(strstr(text, "eth0") && !strstr(strstr(text, "eth0") + 1, "eth0"), 1);
	CHECK(!strstr(strstr(text, "5 of 5") + 1, "5 of 5"));
	events_free(&events);
}

TEST(a_hand_back_is_logged_once_whoever_wrote_it)
{
	struct sl_event own = {.kind = SL_EVENT_HAND_BACK, .service = 3};
	struct events events = events_new(), no_ring = {0};
	const char *text;

	capture_begin();
	program_writes(&events, SL_EVENT_HAND_BACK, "new flows are kube-proxy's", 0); /* the CLI */
	events_add(&events, &own, "ended by a change of its mode");
	CHECK(events_follow(&events));
	CHECK(!events_follow(&events));
	events_add(&no_ring, &own, "at once");
	text = capture_end();
	CHECK(strstr(text, " info hand_back service row 2 10.0.0.1:8000: new flows are kube-proxy's\n"));
	CHECK(strstr(text, " info hand_back service row 2: ended by a change of its mode\n"));
	CHECK(strstr(text, " info hand_back service row 2: at once\n"));
	CHECK(!strstr(strstr(text, "ended by") + 1, "ended by"));
	events_free(&events);
}

TEST(an_event_that_is_being_written_is_waited_for_once)
{
	struct events events = events_new();
	const char *text;

	capture_begin();
	program_writes(&events, SL_EVENT_EJECT, "first", 0);
	program_writes(&events, SL_EVENT_EJECT, "second", 0);
	events.ring[1].seq = 0;
	CHECK(!events_follow(&events)); /* in order: the second waits for the first */
	events.ring[1].seq = 1;
	CHECK(events_follow(&events));
	program_writes(&events, SL_EVENT_EJECT, "third", 0);
	program_writes(&events, SL_EVENT_EJECT, "fourth", 0);
	events.ring[3].seq = 0; /* its writer never comes back */
	CHECK(!events_follow(&events));
	CHECK(events_follow(&events));
	text = capture_end();
	CHECK(strstr(text, "first") && strstr(text, "second") && strstr(text, "fourth"));
	CHECK(strstr(text, "first") < strstr(text, "second"));
	CHECK(!strstr(text, "third"));
	events_free(&events);
}

TEST(what_was_overwritten_is_left_out)
{
	struct events events = events_new();
	const char *text;

	log_init(LOG_LEVEL_ERROR, false);
	program_writes(&events, SL_EVENT_EJECT, "old", 0);
	events.head->last = SL_MAX_EVENTS;
	program_writes(&events, SL_EVENT_EJECT, "new", 0); /* in the first one's row */
	capture_begin();
	while (events.head->followed < events.head->last)
		events_follow(&events);
	text = capture_end();
	CHECK(strstr(text, ": new\n") && !strstr(text, "old"));
	events_free(&events);
}
