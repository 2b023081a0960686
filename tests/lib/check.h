/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole of our test framework: TEST(name) { ... } registers itself, CHECK*
 * prints file, line, actual and expected and goes on, and main() runs all (or
 * those whose name contains argv[1]) and ends with the counts.
 *
 * Output, one line a test: "ok NAME", "FAIL NAME" or "skip NAME: WHY".
 */
#ifndef SLUICE_TEST_CHECK_H
#define SLUICE_TEST_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
	const char *name;
	void (*run)(void);
	struct check_test *next;
};

static struct check_test *check_first, **check_last = &check_first;
static bool check_failed;
static const char *check_skipped;

#define TEST(test_name)                                                                            \
	static void test_##test_name(void);                                                        \
	static __attribute__((constructor)) void register_##test_name(void)                        \
	{                                                                                          \
		static struct check_test test = {#test_name, test_##test_name, NULL};              \
		*check_last = &test;                                                               \
		check_last = &test.next;                                                           \
	}                                                                                          \
	static void test_##test_name(void)

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("  %s:%d: not true: %s\n", __FILE__, __LINE__, #condition);         \
			check_failed = true;                                                       \
		}                                                                                  \
	} while (0)

#define CHECK_INT(actual, expected)                                                                \
	do {                                                                                       \
		long long check_a = (actual), check_e = (expected);                                \
		if (check_a != check_e) {                                                          \
			printf("  %s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__,         \
			       #actual, check_a, check_e);                                         \
			check_failed = true;                                                       \
		}                                                                                  \
	} while (0)

#define CHECK_STR(actual, expected)                                                                \
	do {                                                                                       \
		const char *check_a = (actual), *check_e = (expected);                             \
		if (!check_a || strcmp(check_a, check_e)) {                                        \
			printf("  %s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__,     \
			       #actual, check_a ? check_a : "(null)", check_e);                    \
			check_failed = true;                                                       \
		}                                                                                  \
	} while (0)

/* Leaves the running test as skipped; `why` is printed. */
#define SKIP(why)                                                                                  \
	do {                                                                                       \
		check_skipped = (why);                                                             \
		return;                                                                            \
	} while (0)

/* How many times as long as on a machine of its own things take here: 10 in an emulated guest. */
static inline unsigned check_slow(void)
{
	const char *slow = getenv("SLUICE_SLOW");

	return slow && atoi(slow) > 1 ? atoi(slow) : 1;
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0, skipped = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (struct check_test *test = check_first; test; test = test->next) {
		if (argc > 1 && !strstr(test->name, argv[1]))
			continue;
		check_failed = false;
		check_skipped = NULL;
		test->run();
		if (check_failed)
			printf("FAIL %s\n", test->name), failed++;
		else if (check_skipped)
			printf("skip %s: %s\n", test->name, check_skipped), skipped++;
		else
			printf("ok %s\n", test->name), passed++;
	}
	return failed || !(passed + skipped);
}

#endif
