// SPDX-License-Identifier: GPL-2.0-only
/* The list of verdicts, the form of a refusal, and the small parsers beside them. */
#include <errno.h>

#include "check.h"
#include "duration.h"
#include "nearest.h"
#include "verdict.h"

TEST(verdicts_keep_their_own_copies)
{
	struct verdicts verdicts = {0};
	char field[] = "spec.type";

	for (int i = 0; i < 200; i++)
		CHECK_INT(verdicts_add(&verdicts, VERDICT_UNKNOWN, i ? "a.yaml" : NULL, 7,
				       "Service a/b", field, "no such field"),
			  0);
	field[0] = 'X';
	CHECK_INT(verdicts.n, 200);
	CHECK(!verdicts.list[0].file);
	CHECK_STR(verdicts.list[199].file, "a.yaml");
	CHECK_STR(verdicts.list[199].field, "spec.type");
	CHECK_INT(verdicts.list[199].line, 7);
	CHECK_STR(verdict_kind_names[verdicts.list[0].kind], "unknown");
	verdicts_done(&verdicts);
	CHECK_INT(verdicts.n, 0);
}

TEST(diag_is_one_line_without_what_is_empty)
{
	struct diag diag;
	char buf[1024];

	CHECK_INT(diag_set(&diag, "a.yaml", 3, "spec", "must be %d", 1), -EINVAL);
	CHECK_STR(diag_format(&diag, buf, sizeof(buf)), "a.yaml:3: spec: must be 1");
	diag_set(&diag, "a.yaml", 0, NULL, "is too large");
	CHECK_STR(diag_format(&diag, buf, sizeof(buf)), "a.yaml: is too large");
	diag_set(&diag, NULL, 0, NULL, "too many");
	CHECK_STR(diag_format(&diag, buf, sizeof(buf)), "too many");
	diag_set(&diag, NULL, 2, "kind", "is missing");
	CHECK_STR(diag_format(&diag, buf, sizeof(buf)), "line 2: kind: is missing");
}

TEST(quoted_input_cannot_break_the_line)
{
	struct verdicts verdicts = {0};
	struct diag diag;

	diag_set(&diag, "a.yaml", 1, "spec\033[2J", "\"%s\" is bad", "two\nlines");
	CHECK_STR(diag.field, "spec?[2J");
	CHECK_STR(diag.reason, "\"two?lines\" is bad");
	verdicts_add(&verdicts, VERDICT_UNKNOWN, "a.yaml", 1, "Pod\ta", "x\ry", "\177");
	CHECK_STR(verdicts.list[0].object, "Pod?a");
	CHECK_STR(verdicts.list[0].field, "x?y");
	CHECK_STR(verdicts.list[0].reason, "?");
	verdicts_done(&verdicts);
}

TEST(durations_as_go_writes_them)
{
	static const struct {
		const char *text;
		int err;
		uint64_t ns;
	} rows[] = {
		{"100ms", 0, 100000000},
		{"1.5s", 0, 1500000000},
		{"1h30m", 0, 5400000000000},
		{"250us", 0, 250000},
		{"7ns", 0, 7},
		{"0", 0, 0},
		{"0s", 0, 0},
		{"0.001s", 0, 1000000},
		{"2562047h", 0, 9223369200000000000u},
		{"", -EINVAL, 0},
		{"100", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"-1s", -EINVAL, 0},
		{"1 s", -EINVAL, 0},
		{"1s ", -EINVAL, 0},
		{"1d", -EINVAL, 0},
		{".5s", -EINVAL, 0},
		{"1s1", -EINVAL, 0},
		{"2562048h", -ERANGE, 0},
		{"99999999999999999999h", -ERANGE, 0},
		{"2562047h2562047h", -ERANGE, 0},
		{"2562047h59m", -ERANGE, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t ns = 42;
		int err = duration_parse(rows[i].text, &ns);

		if (err != rows[i].err || ns != (rows[i].err ? 42 : rows[i].ns))
			printf("  in \"%s\"\n", rows[i].text);
		CHECK_INT(err, rows[i].err);
		CHECK_INT(ns, rows[i].err ? 42 : rows[i].ns); /* untouched by a failure */
	}
}

TEST(nearest_counts_edits)
{
	CHECK_INT(nearest_distance("", ""), 0);
	CHECK_INT(nearest_distance("abc", ""), 3);
	CHECK_INT(nearest_distance("kitten", "sitting"), 3);
	CHECK_INT(nearest_distance("clusterIp", "clusterIP"), 0); /* case is no edit */
	CHECK_INT(nearest_distance("readynessProbe", "readinessProbe"), 1);
	CHECK(nearest_is_near("sesionAffinity", 1));
	CHECK(!nearest_is_near("abc", 2));
}
