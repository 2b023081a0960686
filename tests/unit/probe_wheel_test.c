// SPDX-License-Identifier: GPL-2.0-only
/*
 * The timer wheel against a plain list: every entry comes out exactly once, at
 * its tick, whatever is added and removed meanwhile.
 */
#include <stdlib.h>

#include "check.h"
#include "probe_wheel.h"

#define N 2000u

TEST(comes_out_at_its_tick)
{
	struct probe_wheel wheel = {0};
	struct probe_wheel_entry soon = {0}, later = {0}, far = {0};

	probe_wheel_add(&wheel, &later, 7);
	probe_wheel_add(&wheel, &soon, 3);
	probe_wheel_add(&wheel, &far, 7 + PROBE_WHEEL_SLOTS); /* same slot, a round later */
	CHECK(!probe_wheel_expire(&wheel, 2));
	CHECK(probe_wheel_expire(&wheel, 3) == &soon);
	CHECK(!probe_wheel_expire(&wheel, 6));
	CHECK(probe_wheel_expire(&wheel, 100) == &later);
	CHECK(!probe_wheel_expire(&wheel, 6 + PROBE_WHEEL_SLOTS));
	CHECK(probe_wheel_expire(&wheel, 7 + PROBE_WHEEL_SLOTS) == &far);
	CHECK(!probe_wheel_expire(&wheel, 100000));
}

TEST(what_is_overdue_comes_next)
{
	struct probe_wheel wheel = {0};
	struct probe_wheel_entry entry = {0};

	CHECK(!probe_wheel_expire(&wheel, 50));
	probe_wheel_add(&wheel, &entry, 10);
	CHECK(!probe_wheel_expire(&wheel, 50));
	CHECK(probe_wheel_expire(&wheel, 51) == &entry);
}

TEST(moves_and_leaves)
{
	struct probe_wheel wheel = {0};
	struct probe_wheel_entry a = {0}, b = {0};

	probe_wheel_add(&wheel, &a, 5);
	probe_wheel_add(&wheel, &b, 5);
	probe_wheel_add(&wheel, &a, 9);
	probe_wheel_del(&b);
	probe_wheel_del(&b);
	CHECK(!probe_wheel_expire(&wheel, 8));
	CHECK(probe_wheel_expire(&wheel, 9) == &a);
	probe_wheel_del(&a);
	CHECK(!probe_wheel_expire(&wheel, 1000));
}

TEST(many_at_random)
{
	struct probe_wheel *wheel = calloc(1, sizeof(*wheel));
	struct probe_wheel_entry *entries = calloc(N, sizeof(*entries)), *entry;
	unsigned expired = 0, wrong = 0;

	srandom(1);
	for (unsigned i = 0; i < N; i++)
		probe_wheel_add(wheel, &entries[i], random() % 5000);
	for (unsigned i = 0; i < N; i += 4)
		probe_wheel_del(&entries[i]);
	for (uint64_t tick = 0; tick < 5000; tick += 1 + random() % 3) {
		while ((entry = probe_wheel_expire(wheel, tick))) {
			expired++;
			wrong += entry->due > tick || (entry - entries) % 4 == 0;
			/* Every tenth goes around once more, into the tick that is being served. */
			if (expired % 10 == 0)
				probe_wheel_add(wheel, entry, tick + 3);
		}
	}
	while (probe_wheel_expire(wheel, 6000))
		expired++;
	CHECK_INT(wrong, 0);
	/* 1500 stay, and a tenth of all that expire comes back */
	CHECK(expired >= N * 3 / 4 * 10 / 9 - 1 && expired <= N * 3 / 4 * 10 / 9 + 1);
	free(entries);
	free(wheel);
}
