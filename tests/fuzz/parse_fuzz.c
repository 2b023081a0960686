// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parser of packets (bpf/parse.h), compiled for the host: never reads beyond
 * the frame, and what it calls whole lies within it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

static void check(int condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	/* A frame begins two bytes behind an aligned address, so that its IP header is aligned;
	 * it ends with the allocation, so that ASan sees a step beyond. */
	uint8_t *memory = malloc(size + 2), *frame = memory + 2;
	struct packet pkt = {0};
	size_t header;

	memcpy(frame, bytes, size);
	if (parse_frame(frame, frame + size, &pkt) == PARSE_OK) {
		header = pkt.proto == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
		check(pkt.proto == IPPROTO_TCP || pkt.proto == IPPROTO_UDP);
		check(pkt.addressed);
		check(pkt.l4_offset >= L3_OFFSET + sizeof(struct iphdr));
		check(pkt.l4_offset + header <= size);
		check(pkt.l4_length >= header);
		check(!memcmp(&pkt.sport, frame + pkt.l4_offset, sizeof(pkt.sport)));
	}
	free(memory);
	return 0;
}
