// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parsers of packets (bpf/parse.h) and of what ICMP errors quote (bpf/quote.h), compiled for the
 * host: they never read beyond the frame, and what they call whole lies within it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "quote.h"

static void check(int condition)
{
	if (!condition)
		abort();
}

/* Every field that a translation stores lies within the error, and the error within the frame. */
static void check_quote(const uint8_t *frame, size_t size, const struct packet *pkt)
{
	size_t end = pkt->l4_offset + pkt->l4_length, check_at;
	struct quote quote = {0};

	if (!quote_parse_frame((void *)frame, (void *)frame + size, pkt, &quote))
		return;
	check(pkt->proto == IPPROTO_ICMP || pkt->proto == IPPROTO_ICMPV6);
	check(quote.proto == IPPROTO_TCP || quote.proto == IPPROTO_UDP);
	check(quote.l3_offset == pkt->l4_offset + ICMP_HEADER);
	check(quote.l4_offset >= quote.l3_offset + (pkt->v6 ? sizeof(struct ipv6hdr) :
								  sizeof(struct iphdr)));
	check(quote.l4_offset + QUOTE_L4 <= size && quote.l4_offset + QUOTE_L4 <= end);
	check(!memcmp(&quote.sport, frame + quote.l4_offset, sizeof(quote.sport)));
	if (!quote.summed)
		return;
	check_at = quote.l4_offset + (quote.proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
								   offsetof(struct udphdr, check));
	check(check_at + sizeof(quote.check) <= size && check_at + sizeof(quote.check) <= end);
	check(!memcmp(&quote.check, frame + check_at, sizeof(quote.check)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	/* A frame begins two bytes behind an aligned address, so that its IP header is aligned;
	 * it ends with the allocation, so that ASan sees a step beyond. */
	uint8_t *memory = malloc(size + 2), *frame = memory + 2;
	struct packet pkt = {0};
	enum parse_result result;
	size_t header;

	memcpy(frame, bytes, size);
	result = parse_frame(frame, frame + size, &pkt);
	if (result == PARSE_FOREIGN && pkt.l4_offset) /* as icmp.h is asked */
		check_quote(frame, size, &pkt);
	if (result == PARSE_OK) {
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
