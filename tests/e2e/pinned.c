// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pins Sluice's maps without agent or programs, for the tests of the CLI; what
 * is in them stands in tests/lib/pinned.h.
 *
 *	pinned DIR create               make and fill them
 *	pinned DIR append TEXT COUNT    add events to the ring
 *	pinned DIR layout VERSION       claim to be of another version
 *	pinned DIR doubt 0|1            whether the agent doubts its own probes
 *	pinned DIR silence SECONDS      the agent's last sign of life was so long ago
 *	pinned DIR picks ROW COUNT      more picks of one replica
 *	pinned DIR rows                 print the replica rows as hex, one a line
 *	pinned DIR vips                 the same of the VIP rows
 *	pinned DIR join ADMIN           default/llm has a VIP more, with that word
 *	pinned DIR leave                it has it no longer
 *	pinned DIR end                  all flows are over, and counted no more
 */
#include <stdlib.h>

#include "../lib/pinned.h"

static int append(const char *dir, const char *text, int count)
{
	size_t size = sizeof(struct sl_event) * PINNED_EVENTS;
	struct sl_event *ring = pinned_open(dir, "events", size);
	struct sl_event_head *head = pinned_open(dir, "event_head", sizeof(*head));
	struct sl_event event = {.kind = SL_EVENT_ATTACH};

	if (!ring || !head)
		return 1;
	while (count-- > 0)
		pinned_event(ring, head, event, 0, text);
	return 0;
}

static int set_control(const char *dir, const char *what, const char *value)
{
	struct sl_control *control = pinned_open(dir, "control", sizeof(*control));

	if (!control)
		return 1;
	if (!strcmp(what, "layout"))
		control->layout = atoi(value);
	else if (!strcmp(what, "doubt"))
		control->doubt = atoi(value);
	else
		control->heartbeat_ns = pinned_clock_ns(CLOCK_MONOTONIC) -
					atoi(value) * 1000000000ull;
	return 0;
}

static int use_replicas(const char *dir, int row, int picks)
{
	size_t size = sizeof(struct sl_replica) * PINNED_REPLICAS;
	struct sl_replica *rows = pinned_open(dir, "replicas", size);

	if (!rows)
		return 1;
	if (picks) {
		rows[row].state.picks += picks;
		return 0;
	}
	for (row = 0; row < PINNED_REPLICAS; row++) {
		for (size_t i = 0; i < sizeof(*rows); i++)
			printf("%02x", ((unsigned char *)&rows[row])[i]);
		putchar('\n');
	}
	return 0;
}

static int print_vips(const char *dir)
{
	struct sl_vip *rows = pinned_open(dir, "vips", sizeof(*rows) * PINNED_VIPS);

	for (int row = 0; rows && row < PINNED_VIPS; row++) {
		for (size_t i = 0; i < sizeof(*rows); i++)
			printf("%02x", ((unsigned char *)&rows[row])[i]);
		putchar('\n');
	}
	return !rows;
}

static int join_vip(const char *dir, bool joins, int admin)
{
	struct sl_vip *rows = pinned_open(dir, "vips", sizeof(*rows) * PINNED_VIPS);

	if (!rows)
		return 1;
	rows[PINNED_VIPS - 1] = joins ? rows[2] : (struct sl_vip){0};
	rows[PINNED_VIPS - 1].admin = admin;
	return 0;
}

static int end_flows(const char *dir)
{
	struct sl_flow_set *flows = pinned_open(dir, "flows", sizeof(*flows) * PINNED_SETS);
	struct sl_replica *rows = pinned_open(dir, "replicas", sizeof(*rows) * PINNED_REPLICAS);
	union bpf_attr attr = {0};
	struct sl_flow_key key;
	char path[512];
	int spill;

	if (!flows || !rows)
		return 1;
	memset(flows, 0, sizeof(*flows) * PINNED_SETS);
	snprintf(path, sizeof(path), "%s/spill", dir);
	attr.pathname = (uintptr_t)path;
	spill = pinned_bpf(BPF_OBJ_GET, &attr);
	attr = (union bpf_attr){.map_fd = spill, .next_key = (uintptr_t)&key};
	while (!pinned_bpf(BPF_MAP_GET_NEXT_KEY, &attr)) {
		union bpf_attr element = {.map_fd = spill, .key = (uintptr_t)&key};

		pinned_bpf(BPF_MAP_DELETE_ELEM, &element);
	}
	for (int row = 0; row < PINNED_REPLICAS; row++)
		rows[row].state.inflight = 0;
	return 0;
}

int main(int argc, char **argv)
{
	struct pinned pinned;

	if (argc == 3 && !strcmp(argv[2], "create")) {
		if (!pinned_init(argv[1], &pinned)) {
			perror("pinned");
			return 1;
		}
		pinned_fill(&pinned);
		return 0;
	}
	if (argc == 5 && !strcmp(argv[2], "append"))
		return append(argv[1], argv[3], atoi(argv[4]));
	if (argc == 4 && (!strcmp(argv[2], "layout") || !strcmp(argv[2], "silence") ||
			  !strcmp(argv[2], "doubt")))
		return set_control(argv[1], argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[2], "picks"))
		return use_replicas(argv[1], atoi(argv[3]), atoi(argv[4]));
	if (argc == 3 && !strcmp(argv[2], "rows"))
		return use_replicas(argv[1], 0, 0);
	if (argc == 3 && !strcmp(argv[2], "vips"))
		return print_vips(argv[1]);
	if (argc == 4 && !strcmp(argv[2], "join"))
		return join_vip(argv[1], true, atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[2], "leave"))
		return join_vip(argv[1], false, 0);
	if (argc == 3 && !strcmp(argv[2], "end"))
		return end_flows(argv[1]);
	fprintf(stderr, "pinned: see the head of tests/e2e/pinned.c\n");
	return 2;
}
