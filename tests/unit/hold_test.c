// SPDX-License-Identifier: GPL-2.0-only
/* Which replicas stay in a model although their list lacks them, and until when. */
#include <arpa/inet.h>

#include "check.h"
#include "hold.h"

#define S 1000000000ull
#define HOLD (60 * S)

static const char *unfit; /* replicas whose probe fails, by the letters of list() */

static bool is_fit(void *context, const struct model_replica *replica)
{
	char letter = (char)replica->addr.b[15];

	(void)context;
	return !unfit || !strchr(unfit, letter);
}

static const struct hold_rules rules = {.hold_ns = HOLD, .is_fit = is_fit};

/*
 * Replicas by letters, in order: lower case serves, upper case terminates, '-' before one: it does
 * not serve. Port 8000, TCP, weight 100.
 */
static void list(struct model_service *service, const char *letters)
{
	service->replicas = calloc(strlen(letters) + 1, sizeof(*service->replicas));
	for (; *letters; letters++) {
		struct model_replica *replica = &service->replicas[service->n_replicas++];
		bool serving = *letters != '-';

		letters += !serving;
		*replica = (struct model_replica){
			.port = htons(8000),
			.proto = IPPROTO_TCP,
			.weight = 100,
			.serving = serving,
			.terminating = *letters < 'a',
			.pod = "default/pod",
		};
		replica->addr.w[2] = SL_V4_MARK;
		replica->addr.b[15] = *letters | 0x20;
	}
}

static void add(struct model *model, const char *name, const char *letters)
{
	struct model_service *service;

	model->services = realloc(model->services,
				  (model->n_services + 1) * sizeof(*model->services));
	service = &model->services[model->n_services++];
	*service = (struct model_service){.name = name, .port_name = "http",
					  .port = htons(80), .proto = IPPROTO_TCP};
	list(service, letters);
}

static struct model *model_of(const char *letters)
{
	struct model *model = calloc(1, sizeof(*model));

	add(model, "default/llm", letters);
	return model;
}

/* The replicas of a service as one string: "ab(cd)", held ones in parentheses. */
static const char *show(const struct model_service *service)
{
	static char text[128];
	size_t at = 0;

	for (size_t i = 0; i < service->n_replicas; i++) {
		const struct model_replica *replica = &service->replicas[i];

		at += snprintf(text + at, sizeof(text) - at, replica->held_until_ns ? "(%c)" : "%c",
			       replica->addr.b[15]);
	}
	text[at] = '\0';
	return text;
}

/* Puts a list into force after another; *before is the model then. */
static struct hold_change next(struct model **before, const char *letters, uint64_t now_ns)
{
	struct hold_changes changes = {};
	struct hold_change change = {};
	struct model *fresh = model_of(letters);

	CHECK_INT(hold_carry(*before, fresh, &rules, now_ns, &changes), 0);
	CHECK(changes.n < 2);
	if (changes.n) {
		change = changes.list[0];
		CHECK(change.service == fresh->services);
	}
	hold_changes_done(&changes);
	model_free(*before);
	*before = fresh;
	return change;
}

static struct hold_change end(struct model *model, uint64_t now_ns)
{
	struct hold_changes changes = {};
	struct hold_change change = {};

	CHECK_INT(hold_end(model, &rules, now_ns, &changes), 0);
	if (changes.n)
		change = changes.list[0];
	hold_changes_done(&changes);
	return change;
}

TEST(what_is_doubted)
{
	static const struct {
		const char *before, *fresh, *then;
	} rows[] = {
		{"a", "", "(a)"},          {"abc", "", "(a)(b)(c)"},
		{"abc", "a", "a"},         {"abcd", "abc", "abc"},
		{"abcd", "ab", "ab(c)(d)"}, {"abcd", "d", "(a)(b)(c)d"},
		{"abcde", "abc", "abc"},   {"abcde", "ab", "ab(c)(d)(e)"},
		{"abcdefgh", "abcde", "abcde"},
		{"abcdefgh", "aceg", "a(b)c(d)e(f)g(h)"},
		{"abcd", "", "(a)(b)(c)(d)"},
		{"", "", ""}, {"", "ab", "ab"},
		/* Named, and at its end: it is not missing. */
		{"abcd", "ABCD", "abcd"}, {"abcd", "-a-b-c-d", "abcd"}, {"abcd", "aBCD", "abcd"},
		{"abcd", "AB", "ab(c)(d)"}, {"abcd", "aBC", "abc"}, {"ab", "A", "a(b)"},
		/* One that was at its end may go. */
		{"ABCD", "", ""}, {"-a-b", "", ""}, {"abCDEF", "ab", "ab"}, {"aB", "", "(a)"},
		/* Others instead: the list is no shorter. */
		{"abcd", "efgh", "efgh"}, {"abcd", "aef", "aef"}, {"abcd", "ae", "a(b)(c)(d)e"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct model *model = model_of(rows[i].before);

		next(&model, rows[i].fresh, 100 * S);
		if (strcmp(show(model->services), rows[i].then))
			printf("  \"%s\", then \"%s\":\n", rows[i].before, rows[i].fresh);
		CHECK_STR(show(model->services), rows[i].then);
		model_free(model);
	}
}

TEST(what_is_said_when_it_begins)
{
	struct model *model = model_of("abcdE");
	struct hold_change change;

	unfit = "c";
	change = next(&model, "a", 100 * S);
	unfit = NULL;
	CHECK_STR(show(model->services), "a(b)(d)");
	CHECK_INT(change.members, 4);
	CHECK_INT(change.missing, 3);
	CHECK_INT(change.begun, 2);
	CHECK_INT(change.held, 2);
	CHECK_INT(change.back + change.unfit + change.believed, 0);
	CHECK_STR(model->services->replicas[1].pod, "default/pod");
	CHECK(model->services->replicas[1].held_until_ns == 100 * S + HOLD);
	CHECK(hold_count(model) == 2);
	model_free(model);
}

TEST(its_time_is_over)
{
	struct model *model = model_of("abcd");
	struct hold_change change;

	next(&model, "a", 100 * S);
	change = end(model, 100 * S + HOLD - 1);
	CHECK_INT(change.believed, 0);
	CHECK_INT(hold_count(model), 3);
	change = end(model, 100 * S + HOLD);
	CHECK_INT(change.believed, 3);
	CHECK_INT(change.held, 0);
	CHECK_STR(show(model->services), "a");
	change = end(model, 200 * S + HOLD);
	CHECK_INT(change.believed, 0);
	model_free(model);
}

/* Each input between renews nothing, and what is due at one of them leaves with it. */
TEST(other_inputs_do_not_prolong_it)
{
	struct model *model = model_of("abcd");
	struct hold_change change;

	next(&model, "", 100 * S);
	for (unsigned i = 1; i < 60; i++) {
		change = next(&model, "", (100 + i) * S);
		CHECK_INT(change.begun, 0);
		CHECK_STR(show(model->services), "(a)(b)(c)(d)");
	}
	change = next(&model, "e", 100 * S + HOLD - 1);
	CHECK_STR(show(model->services), "(a)(b)(c)(d)e");
	change = next(&model, "e", 100 * S + HOLD);
	CHECK_INT(change.believed, 4);
	CHECK_STR(show(model->services), "e");
	model_free(model);
}

TEST(a_list_that_names_them_again)
{
	struct model *model = model_of("abcd");
	struct hold_change change;

	next(&model, "", 100 * S);
	change = next(&model, "bD", 110 * S);
	CHECK_INT(change.back, 2);
	CHECK_INT(change.held, 2);
	CHECK_STR(show(model->services), "(a)b(c)d");
	CHECK(model->services->replicas[3].terminating);
	change = next(&model, "abcd", 120 * S);
	CHECK_INT(change.back, 2);
	CHECK_INT(change.held, 0);
	CHECK_STR(show(model->services), "abcd");
	change = next(&model, "", 130 * S); /* a doubt of its own */
	CHECK_INT(change.begun, 4);
	CHECK_INT(end(model, 130 * S + HOLD - 1).believed, 0);
	CHECK_INT(end(model, 130 * S + HOLD).believed, 4);
	model_free(model);
}

TEST(held_ones_are_no_members)
{
	struct model *model = model_of("abcd");
	struct hold_change change;

	next(&model, "ab", 100 * S);
	change = next(&model, "a", 110 * S); /* one of two: believed */
	CHECK_INT(change.begun, 0);
	CHECK_STR(show(model->services), "a(c)(d)");
	change = next(&model, "", 120 * S);
	CHECK_INT(change.members, 1);
	CHECK_INT(change.begun, 1);
	CHECK_INT(end(model, 100 * S + HOLD).believed, 2);
	CHECK_STR(show(model->services), "(a)");
	CHECK_INT(end(model, 120 * S + HOLD).believed, 1);
	CHECK_STR(show(model->services), "");
	model_free(model);
}

TEST(whose_probe_fails_leaves_at_once)
{
	struct model *model = model_of("abcd");
	struct hold_change change;

	next(&model, "", 100 * S);
	unfit = "b";
	change = end(model, 101 * S);
	CHECK_INT(change.unfit, 1);
	CHECK_INT(change.held, 3);
	CHECK_STR(show(model->services), "(a)(c)(d)");
	unfit = "bd";
	change = next(&model, "", 102 * S);
	CHECK_INT(change.unfit, 1);
	CHECK_STR(show(model->services), "(a)(c)");
	unfit = NULL; /* well again, but forgotten */
	end(model, 103 * S);
	next(&model, "", 104 * S);
	CHECK_STR(show(model->services), "(a)(c)");
	model_free(model);
}

TEST(services_that_are_gone_or_changed_hold_nobody)
{
	struct model *model = model_of("abcd"), *fresh;
	struct hold_changes changes = {};

	for (int what = 0; what < 5; what++) {
		fresh = model_of("");
		if (what == 0)
			fresh->services[0].port_name = "x";
		else if (what == 1)
			fresh->services[0].port = htons(81);
		else if (what == 2)
			fresh->services[0].local = true; /* a policy chose, no list lost */
		else if (what == 3)
			fresh->services[0].proto = IPPROTO_UDP;
		CHECK_INT(hold_carry(model, fresh, &rules, 100 * S, &changes), 0);
		CHECK_INT(hold_count(fresh), what == 4 ? 4 : 0);
		model_free(fresh);
	}
	hold_changes_done(&changes);
	fresh = calloc(1, sizeof(*fresh));
	CHECK_INT(hold_carry(model, fresh, &rules, 100 * S, &changes), 0);
	CHECK_INT(hold_carry(fresh, model, &rules, 100 * S, &changes), 0);
	CHECK_INT(changes.n, 0);
	model_free(fresh);
	model_free(model);
}

TEST(a_hold_of_0_believes_at_once)
{
	const struct hold_rules none = {.is_fit = is_fit};
	struct model *model = model_of("abcd"), *fresh = model_of("");
	struct hold_changes changes = {};

	CHECK_INT(hold_carry(model, fresh, &none, 100 * S, &changes), 0);
	CHECK_INT(hold_count(fresh), 0);
	CHECK_INT(changes.n, 0);
	model_free(fresh);
	model_free(model);
}

/* A replica has one weight, cap and probe interval, and one list's word on its end is enough. */
TEST(what_another_service_says_of_them)
{
	struct model *model = model_of("abcd"), *fresh = model_of("");
	struct hold_changes changes = {};
	struct model_replica *held;

	add(model, "default/two", "abcd");
	add(fresh, "default/two", "aBc-d");
	fresh->services[1].replicas[0].weight = 7;
	fresh->services[1].replicas[0].max_connections = 8;
	fresh->services[1].replicas[0].probe.interval_ms = 9;
	CHECK_INT(hold_carry(model, fresh, &rules, 100 * S, &changes), 0);
	CHECK_STR(show(&fresh->services[0]), "(a)(c)");
	CHECK_STR(show(&fresh->services[1]), "abcd");
	CHECK_INT(changes.n, 1);
	CHECK_INT(changes.list[0].begun, 2);
	held = fresh->services[0].replicas;
	CHECK_INT(held->weight, 7);
	CHECK_INT(held->max_connections, 8);
	CHECK_INT(held->probe.interval_ms, 9);
	hold_changes_done(&changes);
	model_free(model);
	model = fresh;
	fresh = model_of("");
	add(fresh, "default/two", "Abcd");
	CHECK_INT(hold_carry(model, fresh, &rules, 101 * S, &changes), 0);
	CHECK_STR(show(&fresh->services[0]), "(c)");
	CHECK_INT(changes.n ? changes.list[0].believed : 0, 1);
	hold_changes_done(&changes);
	model_free(fresh);
	model_free(model);
}

TEST(all_are_dropped_for_want_of_room)
{
	struct model *model = model_of("abcd");

	next(&model, "b", 100 * S);
	CHECK_INT(hold_drop(model), 3);
	CHECK_STR(show(model->services), "b");
	CHECK_INT(hold_drop(model), 0);
	model_free(model);
}
