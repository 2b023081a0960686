// SPDX-License-Identifier: GPL-2.0-only
/* Who is dead: down by its probes, and a second witness says so. */
#include "check.h"
#include "witness.h"

#define MS 1000000ull
#define S (1000 * MS)

static bool is_dead(const struct witness *witness, uint64_t now_ns)
{
	char text[64];

	return witness_is_dead(witness, now_ns, text, sizeof(text));
}

TEST(silence_of_its_flows)
{
	struct witness witness = {.since_ns = 100 * S};
	char text[64];

	CHECK(!is_dead(&witness, 100 * S));
	CHECK(!is_dead(&witness, 110 * S - 1));
	CHECK(witness_is_dead(&witness, 110 * S, text, sizeof(text)));
	CHECK_STR(text, "no byte of any flow for 10000 ms");
	witness.payload_ns = 105 * S; /* it streams, whatever its probes say */
	CHECK(!is_dead(&witness, 115 * S - 1));
	CHECK(is_dead(&witness, 115 * S));
	witness.payload_ns = 50 * S; /* before it began to fail: no matter */
	CHECK(is_dead(&witness, 110 * S));
}

TEST(its_service_says_how_long)
{
	struct witness witness = {.since_ns = 100 * S, .reset_after_ms = 2000};

	CHECK(!is_dead(&witness, 101999 * MS));
	CHECK(is_dead(&witness, 102 * S));
}

TEST(who_answers_503_is_alive)
{
	struct witness witness = {.since_ns = 100 * S, .answer_ns = 200 * S};

	CHECK(!is_dead(&witness, 201 * S));
	CHECK(is_dead(&witness, 210 * S));
}

TEST(no_way_to_its_host)
{
	struct witness witness = {.since_ns = 100 * S, .unreachable = true};
	char text[64];

	CHECK(witness_is_dead(&witness, 100 * S, text, sizeof(text)));
	CHECK_STR(text, "there is no way to its host");
}

TEST(its_cpu_counter_stands_still)
{
	struct witness witness = {.since_ns = 100 * S};
	char text[64];

	witness_cpu(&witness, 5000, 101 * S);
	CHECK(!is_dead(&witness, 101 * S + WITNESS_CPU_NS)); /* one look says nothing */
	witness_cpu(&witness, 5000, 102 * S);
	CHECK(!is_dead(&witness, 102 * S));
	witness_cpu(&witness, 5001, 103 * S); /* it moved: from here on again */
	CHECK(!is_dead(&witness, 103 * S + WITNESS_CPU_NS));
	witness_cpu(&witness, 5001, 104 * S);
	CHECK(!is_dead(&witness, 103 * S + WITNESS_CPU_NS - 1));
	CHECK(witness_is_dead(&witness, 103 * S + WITNESS_CPU_NS, text, sizeof(text)));
	CHECK_STR(text, "its pod used no CPU for 2500 ms");
}

TEST(what_lies_in_socket_buffers_goes_out_without_it)
{
	struct witness witness = {.since_ns = 100 * S, .payload_ns = 102 * S};

	witness_cpu(&witness, 5000, 101 * S);
	witness_cpu(&witness, 5000, 105 * S);
	CHECK(!is_dead(&witness, 105 * S));
}

TEST(its_port_refuses)
{
	struct witness witness = {.since_ns = 100 * S, .refuses = true};
	char text[64];

	CHECK(!is_dead(&witness, 102 * S - 1));
	CHECK(witness_is_dead(&witness, 102 * S, text, sizeof(text)));
	CHECK_STR(text, "its port refuses, no byte of any flow for 2000 ms");
	witness.payload_ns = 105 * S; /* it closed its listener and serves on whom it has */
	CHECK(!is_dead(&witness, 107 * S - 1));
	CHECK(is_dead(&witness, 107 * S));
	witness.refuses = false; /* it accepts again, or it was told to leave */
	CHECK(!is_dead(&witness, 114 * S));
	CHECK(is_dead(&witness, 115 * S));
}

TEST(stamps_of_payload)
{
	/* 250 to the second. */
	CHECK_INT(witness_payload_ns(1000, 1250, 250, 500 * S), 499 * S);
	CHECK_INT(witness_payload_ns(1000, 1000, 250, 500 * S), 500 * S);
	CHECK_INT(witness_payload_ns(1003, 1000, 250, 500 * S), 500 * S); /* a program was quicker */
	CHECK_INT(witness_payload_ns(0, 1000, 250, 500 * S), 0);
	CHECK_INT(witness_payload_ns(0xffffff06, 0, 250, 500 * S), 499 * S);
	/* So old that it looks as if it came from the future. */
	CHECK_INT(witness_payload_ns(1000, 1000 + 0x80000001u, 250, 50000000 * S), 0);
}
