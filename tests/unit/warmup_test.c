// SPDX-License-Identifier: GPL-2.0-only
/* The curve of slow start: its ends, its shape, its inverse. */
#include "check.h"
#include "warmup.h"

static struct model_warmup rules(unsigned duration_ms, unsigned minimum, unsigned aggression)
{
	return (struct model_warmup){duration_ms, minimum, aggression};
}

#define PERCENT(n) ((n) * 65536 / 100)

TEST(a_straight_line_from_the_minimum_on)
{
	struct model_warmup linear = rules(60000, 10, 100);

	CHECK_INT(warmup_share(&linear, 0), PERCENT(10));
	CHECK_INT(warmup_share(&linear, 6000), PERCENT(10));
	CHECK_INT(warmup_share(&linear, 12000), PERCENT(20));
	CHECK_INT(warmup_share(&linear, 30000), PERCENT(50));
	CHECK_INT(warmup_share(&linear, 59999), 65534);
}

TEST(aggression_bends_the_line)
{
	struct model_warmup bent = rules(10000, 1, 200);

	CHECK_INT(warmup_share(&bent, 100), PERCENT(10)); /* (1 / 100) ^ (1 / 2) */
	CHECK_INT(warmup_share(&bent, 2500), PERCENT(50));
	CHECK_INT(warmup_share(&bent, 0), PERCENT(1));
}

TEST(a_share_is_never_nothing_and_never_all)
{
	struct model_warmup most = rules(7 * 86400000u, 100, 100000), least = rules(1, 0, 100);

	CHECK_INT(warmup_share(&most, 0), 65535);
	CHECK_INT(warmup_share(&most, 7 * 86400000ull - 1), 65535);
	CHECK_INT(warmup_share(&least, 0), 1);
}

TEST(a_share_tells_since_when)
{
	struct model_warmup linear = rules(60000, 10, 100), bent = rules(60000, 5, 150);

	CHECK_INT(warmup_since(&linear, warmup_share(&linear, 3000)), 0); /* still the minimum */
	for (unsigned ms = 6002; ms < 60000; ms += 997) {
		uint64_t found = warmup_since(&linear, warmup_share(&linear, ms));

		CHECK(found <= ms && found + 2 >= ms);
		found = warmup_since(&bent, warmup_share(&bent, ms));
		CHECK(found <= ms && found + 3 >= ms);
		CHECK(found < 60000);
	}
	CHECK(warmup_since(&linear, 65535) < 60000);
}
