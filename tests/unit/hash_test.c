// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hashes over the keys that clusters really have: neighbouring addresses and
 * ports. They must spread like random numbers over sets, home ways and filter
 * bits, and the seed must matter. And the checksum sum of an address.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>

#include <sluice/hash.h>

#include "check.h"

#define SEED 0x0123456789abcdefull

static union sl_addr v4(__u32 host)
{
	return (union sl_addr){.w = {0, 0, SL_V4_MARK, htonl(0x0a000000 + host)}};
}

static union sl_addr v6(__u32 host)
{
	return (union sl_addr){.w = {htonl(0xfd000000), 0, 0, htonl(host)}};
}

/*
 * Chi-squared of `n` balls in `bins` bins: at random it is about the degrees of freedom, with twice
 * these as variance. Anything up to six standard deviations above that passes; falling more evenly
 * than at random is fine too.
 */
static void check_even(const char *what, const unsigned *count, size_t bins, size_t n)
{
	double mean = (double)n / bins, chi = 0, freedom = bins - 1, excess;

	for (size_t i = 0; i < bins; i++)
		chi += (count[i] - mean) * (count[i] - mean) / mean;
	excess = chi - freedom;
	if (excess > 0 && excess * excess > 36 * 2 * freedom) {
		printf("  %s crowd: %.2f times the random spread over %zu bins\n", what,
		       chi / freedom, bins);
		CHECK(false);
	}
}

#define BINS 4096
#define KEYS (BINS * 16)

/* Key number i of some pattern, and its hash. */
typedef __u64 hash_fn(unsigned i);

static __u64 hash_addresses_v4(unsigned i)
{
	union sl_addr addr = v4(i);

	return sl_hash_addr(&addr, htons(8000), IPPROTO_TCP, SEED);
}

static __u64 hash_addresses_v6(unsigned i)
{
	union sl_addr addr = v6(i);

	return sl_hash_addr(&addr, htons(8000), IPPROTO_TCP, SEED);
}

static __u64 hash_ports(unsigned i)
{
	union sl_addr addr = v4(i >> 12);

	return sl_hash_addr(&addr, htons(i & 4095), IPPROTO_TCP, SEED);
}

static __u64 hash_flow(const union sl_addr *client, unsigned port, __u32 service)
{
	struct sl_flow_key key = {.client = *client, .port = htons(port), .proto = IPPROTO_TCP,
				  .service = service};

	return sl_hash_flow(&key, SEED);
}

static __u64 hash_flow_ports(unsigned i)
{
	union sl_addr client = v4(1);

	return hash_flow(&client, i, 3);
}

static __u64 hash_flow_clients_v4(unsigned i)
{
	union sl_addr client = v4(i);

	return hash_flow(&client, 40000, 3);
}

static __u64 hash_flow_clients_v6(unsigned i)
{
	union sl_addr client = v6(i);

	return hash_flow(&client, 40000, 3);
}

static __u64 hash_flow_services(unsigned i)
{
	union sl_addr client = v4(i >> 12);

	return hash_flow(&client, 40000, i & 4095);
}

static __u64 hash_snat_ports(unsigned i)
{
	union sl_snat_key key = {.replica = i >> 12, .port = htons(1024 + (i & 4095)),
				 .proto = IPPROTO_TCP};

	return sl_hash_snat(&key, SEED);
}

static const struct {
	const char *name;
	hash_fn *hash;
} patterns[] = {
	{"v4 addresses", hash_addresses_v4},
	{"v6 addresses", hash_addresses_v6},
	{"ports", hash_ports},
	{"flows, client ports", hash_flow_ports},
	{"flows, v4 clients", hash_flow_clients_v4},
	{"flows, v6 clients", hash_flow_clients_v6},
	{"flows, services", hash_flow_services},
	{"source-NAT ports", hash_snat_ports},
};

#define N_PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

/* Every 12-bit window that some table takes its set, way or bit from. */
TEST(neighbours_fall_evenly)
{
	static const unsigned shifts[] = {0, 4, 16, 18, 24, 32, 40, 42};
	static unsigned count[BINS];

	for (size_t p = 0; p < N_PATTERNS; p++)
		for (size_t s = 0; s < sizeof(shifts) / sizeof(shifts[0]); s++) {
			memset(count, 0, sizeof(count));
			for (unsigned i = 0; i < KEYS; i++)
				count[patterns[p].hash(i) >> shifts[s] & (BINS - 1)]++;
			check_even(patterns[p].name, count, BINS, KEYS);
		}
}

/* The second choice must not follow from the first: keys of one set scatter over all. */
TEST(the_second_set_is_independent_of_the_first)
{
	static unsigned count[BINS];

	for (size_t p = 0; p < N_PATTERNS; p++) {
		unsigned n = 0;

		memset(count, 0, sizeof(count));
		for (unsigned i = 0; i < 65536; i++) {
			__u64 hash = patterns[p].hash(i);

			if (sl_index_set_1(hash) % 64 == 5) {
				count[sl_index_set_2(hash) % 64]++;
				n++;
			}
		}
		check_even(patterns[p].name, count, 64, n);
		memset(count, 0, sizeof(count));
		n = 0;
		for (unsigned i = 0; i < 65536; i++) {
			__u64 hash = patterns[p].hash(i);

			if ((hash & 63) == 5) {
				count[hash >> 32 & 63]++;
				n++;
			}
		}
		check_even(patterns[p].name, count, 64, n);
	}
}

/* The home way of a flow must not follow from its set. */
TEST(home_ways_of_one_set_differ)
{
	for (size_t p = 0; p < N_PATTERNS; p++) {
		unsigned count[SL_FLOW_WAYS] = {0}, n = 0;

		for (unsigned i = 0; i < 65536; i++) {
			__u64 hash = patterns[p].hash(i);

			if ((hash & 31) == 9) {
				count[hash >> 24 & (SL_FLOW_WAYS - 1)]++;
				n++;
			}
		}
		check_even(patterns[p].name, count, SL_FLOW_WAYS, n);
	}
}

TEST(the_seed_matters)
{
	union sl_addr addr = v4(1);
	struct sl_flow_key flow = {.client = addr, .port = 1};
	union sl_snat_key snat = {.replica = 1};
	unsigned differing = 0;

	for (__u64 seed = 1; seed <= 64; seed++) {
		differing +=
			sl_hash_addr(&addr, 1, 6, seed) % 64 != sl_hash_addr(&addr, 1, 6, 0) % 64;
		differing += sl_hash_flow(&flow, seed) % 64 != sl_hash_flow(&flow, 0) % 64;
		differing += sl_hash_snat(&snat, seed) % 64 != sl_hash_snat(&snat, 0) % 64;
	}
	CHECK(differing > 180);
}

TEST(every_field_matters)
{
	struct sl_flow_key base = {.client = v4(1), .port = htons(4000), .proto = IPPROTO_TCP,
				   .service = 3};
	struct sl_flow_key key;
	__u64 hash = sl_hash_flow(&base, SEED);

	for (unsigned i = 0; i < sizeof(key); i++) {
		key = base;
		((unsigned char *)&key)[i] ^= 1;
		CHECK(sl_hash_flow(&key, SEED) != hash);
	}
}

/* RFC 1071, straightforward: 16-bit words, one after the other. */
static unsigned fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static unsigned sum_words(const unsigned char *bytes, size_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i += 2) {
		uint16_t word;

		memcpy(&word, bytes + i, 2);
		sum += word;
	}
	return fold(sum);
}

TEST(the_sum_of_an_address)
{
	union sl_addr addr;

	srand(5);
	for (unsigned round = 0; round < 100000; round++) {
		for (unsigned i = 0; i < 16; i++)
			addr.b[i] = rand() % 3 ? rand() : 0xff;
		CHECK_INT(fold(sl_addr_sum(&addr)), sum_words(addr.b, 16));
	}
	memset(&addr, 0xff, sizeof(addr));
	CHECK_INT(fold(sl_addr_sum(&addr)), sum_words(addr.b, 16));
}

/* A pseudo-header of IPv4 holds four bytes of address. */
TEST(the_sum_of_a_v4_address_leaves_out_the_prefix)
{
	union sl_addr addr = v4(0x123456);

	CHECK_INT(fold(sl_addr_sum(&addr)), sum_words(&addr.b[12], 4));
	addr = (union sl_addr){.w = {0, 0, SL_V4_MARK, 0xffffffff}};
	CHECK_INT(sl_addr_sum(&addr), 0xffffffff);
}
