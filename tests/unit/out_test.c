// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows of typed values as text and as JSON. The CLI is no library, so its
 * source is compiled in here.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>

#include "../../tools/sluice/out.c"
#include "check.h"

enum format { TEXT, COLOR, JSON };

/* Runs `print` and returns what came out; free() it. */
static char *printed(enum format format, void (*print)(struct out *out))
{
	struct out *out;
	char *text = NULL;
	size_t len;
	FILE *file = open_memstream(&text, &len);

	CHECK_INT(out_new(file, format == JSON, format == COLOR, &out), 0);
	print(out);
	CHECK_INT(out_end(out), 0);
	out_free(out);
	fclose(file);
	return text;
}

#define CHECK_PRINTED(format, print, expected)                                                     \
	do {                                                                                       \
		char *check_text = printed(format, print);                                         \
		CHECK_STR(check_text, expected);                                                   \
		free(check_text);                                                                  \
	} while (0)

static const struct out_column all_types[] = {
	{"name", "NAME", OUT_STRING}, {"count", "COUNT", OUT_UINT}, {"load", "LOAD", OUT_REAL},
	{"local", "LOCAL", OUT_BOOL}, {"state", "STATE", OUT_STATE}, {"vips", "VIPS", OUT_LIST},
	{"drops", "DROPS", OUT_COUNTS}, {},
};

static void print_all_types(struct out *out)
{
	out_begin(out, all_types);
	out_string(out, "default/llm");
	out_uint(out, UINT64_MAX);
	out_real(out, 2.5);
	out_bool(out, true);
	out_string(out, "ready");
	out_item(out, "10.0.0.1:80");
	out_item(out, "\"b\"");
	out_close(out);
	out_count(out, "fragment", 0);
	out_count(out, "collision", 3);
	out_close(out);
	out_row(out);
	for (int i = 0; i < 5; i++)
		out_null(out);
	out_close(out);
	out_count(out, "fragment", 0);
	out_close(out);
	out_row(out);
}

TEST(every_type)
{
	CHECK_PRINTED(TEXT, print_all_types,
		      "NAME                        COUNT  LOAD  LOCAL  STATE  VIPS             DROPS\n"
		      "default/llm  18446744073709551615  2.50  yes    ready  10.0.0.1:80,\"b\"  "
		      "collision 3\n"
		      "-                               -     -  -      -      -                -\n");
	CHECK_PRINTED(JSON, print_all_types,
		      "[\n {\"name\": \"default/llm\", \"count\": 18446744073709551615, \"load\": 2.50, "
		      "\"local\": true, \"state\": \"ready\", \"vips\": [\"10.0.0.1:80\", \"\\\"b\\\"\"], "
		      "\"drops\": {\"fragment\": 0, \"collision\": 3}},\n"
		      " {\"name\": null, \"count\": null, \"load\": null, \"local\": null, "
		      "\"state\": null, \"vips\": [], \"drops\": {\"fragment\": 0}}\n]\n");
}

/* Keys without heading are for programs, headings without key for people. */
static void print_halves(struct out *out)
{
	static const struct out_column columns[] = {
		{NULL, "WHERE", OUT_STRING}, {"address", NULL, OUT_STRING},
		{"port", NULL, OUT_UINT}, {NULL, "BAR", OUT_STRING}, {},
	};

	out_begin(out, columns);
	out_string(out, "[fd00::1]:80");
	out_string(out, "fd00::1");
	out_uint(out, 80);
	out_string(out, "##");
	out_row(out);
	out_note(out, "%d bar", 1);
}

TEST(columns_of_one_format_only)
{
	CHECK_PRINTED(TEXT, print_halves, "WHERE         BAR\n[fd00::1]:80  ##\n1 bar\n");
	CHECK_PRINTED(JSON, print_halves, "[\n {\"address\": \"fd00::1\", \"port\": 80}\n]\n");
}

static void print_nothing(struct out *out)
{
	out_begin(out, all_types);
}

TEST(no_rows)
{
	CHECK_PRINTED(TEXT, print_nothing, "NAME  COUNT  LOAD  LOCAL  STATE  VIPS  DROPS\n");
	CHECK_PRINTED(JSON, print_nothing, "[]\n");
}

static const struct out_column state_columns[] = {
	{"n", "N", OUT_UINT}, {"state", "STATE", OUT_STATE}, {},
};

static void print_state(struct out *out, uint64_t n, const char *state)
{
	out_uint(out, n);
	out_string(out, state);
	out_row(out);
}

static void print_states(struct out *out)
{
	out_begin(out, state_columns);
	print_state(out, 1, "ready");
	print_state(out, 2, "draining");
	print_state(out, 3, "down");
	print_state(out, 4, "else");
}

TEST(states_have_colours)
{
	CHECK_PRINTED(COLOR, print_states,
		      "\033[1mN\033[0m  \033[1mSTATE\033[0m\n"
		      "1  \033[32mready\033[0m\n2  \033[33mdraining\033[0m\n"
		      "3  \033[31mdown\033[0m\n4  else\n");
	CHECK_PRINTED(TEXT, print_states, "N  STATE\n1  ready\n2  draining\n3  down\n4  else\n");
}

static void print_record_once(struct out *out)
{
	static const struct out_column columns[] = {
		{"agent", "agent", OUT_STATE}, {"pid", "its pid", OUT_UINT},
		{"secret", NULL, OUT_UINT}, {},
	};

	out_begin_record(out, columns);
	out_string(out, "dead");
	out_uint(out, 7);
	out_uint(out, 8);
	out_row(out);
}

TEST(record)
{
	CHECK_PRINTED(TEXT, print_record_once, "agent    dead\nits pid  7\n");
	CHECK_PRINTED(COLOR, print_record_once, "agent    \033[31mdead\033[0m\nits pid  7\n");
	CHECK_PRINTED(JSON, print_record_once,
		      "[\n {\"agent\": \"dead\", \"pid\": 7, \"secret\": 8}\n]\n");
}

static void print_rounds(struct out *out)
{
	out_begin(out, state_columns);
	print_state(out, 1, "ready");
	out_again(out);
	print_state(out, 10, "down");
}

TEST(rounds)
{
	CHECK_PRINTED(TEXT, print_rounds, "N  STATE\n1  ready\n\n N  STATE\n10  down\n");
	CHECK_PRINTED(JSON, print_rounds,
		      "[\n {\"n\": 1, \"state\": \"ready\"},\n {\"n\": 10, \"state\": \"down\"}\n]\n");
}

static void print_hostile(struct out *out)
{
	static const struct out_column columns[] = {
		{"text", "TEXT", OUT_STRING}, {"list", "LIST", OUT_LIST}, {},
	};

	out_begin(out, columns);
	out_string(out, "a\033[2J\xff");
	out_item(out, "\n");
	out_close(out);
	out_row(out);
	out_note(out, "%s", "\033]0;x\007");
}

TEST(nothing_commands_the_terminal)
{
	CHECK_PRINTED(TEXT, print_hostile, "TEXT    LIST\na?[2J?  ?\n?]0;x?\n");
	CHECK_PRINTED(JSON, print_hostile,
		      "[\n {\"text\": \"a\\u001b[2J\\ufffd\", \"list\": [\"\\u000a\"]}\n]\n");
}

static void print_many(struct out *out)
{
	out_begin(out, state_columns);
	for (unsigned i = 0; i < 100000; i++)
		print_state(out, i, "ready");
}

TEST(many_rows)
{
	char *text = printed(JSON, print_many);
	json_t *rows = json_loads(text, 0, NULL);
	size_t lines = 0;

	CHECK_INT(json_array_size(rows), 100000);
	CHECK_INT(json_integer_value(json_object_get(json_array_get(rows, 99999), "n")), 99999);
	json_decref(rows);
	free(text);
	text = printed(TEXT, print_many);
	for (char *c = text; *c; c++)
		lines += *c == '\n';
	CHECK_INT(lines, 100001);
	CHECK(strstr(text, "\n99999  ready\n") != NULL);
	free(text);
}

/* Text of a long table waits in small blocks, JSON not at all. */
TEST(memory_stays_small)
{
	struct out *out;
	FILE *file = fopen("/dev/null", "w");

	CHECK_INT(out_new(file, false, false, &out), 0);
	print_many(out);
	CHECK(out->cells.capacity < 64 * BLOCK_ROWS);
	CHECK_INT(out_end(out), 0);
	out_free(out);
	fclose(file);
}

TEST(write_errors_are_returned)
{
	struct out *out;
	FILE *file = fopen("/dev/full", "w");

	CHECK_INT(out_new(file, true, false, &out), 0);
	print_states(out);
	CHECK_INT(out_flush(out), -ENOSPC);
	CHECK_INT(out_end(out), -ENOSPC);
	out_free(out);
	fclose(file);
}
