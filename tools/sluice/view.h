/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps as a person thinks of them: services by name, with the variants that
 * inside and outside clients use taken as one; replicas and VIPs by service,
 * sorted. A snapshot of the names; the numbers stay live in the maps.
 */
#ifndef SLUICE_VIEW_H
#define SLUICE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "cli.h"
#include "maps.h"

/* A replica or a VIP of a service-port: rows in the maps. */
struct view_pair {
	__u32 service; /* as view_service_row() gives it */
	__u32 row;
};

struct view_pairs {
	struct view_pair *list; /* sorted: by service, then by address and port; none twice */
	size_t n;
};

struct view_service;

struct view {
	struct maps maps;
	struct view_service *services; /* maps.n_services rows */
	__u32 *order;                  /* rows that stand for a service-port, sorted by name */
	size_t n_order;
};

/* Opens the maps and reads the names; says on stderr what failed. CLI_OK or CLI_FAILED. */
int view_open(const struct cli *cli, struct view *ret);
void view_close(struct view *view);
/* Reads the names anew. */
void view_refresh(struct view *view);

/* The row that stands for the service-port of `row`; `row` itself when it has no name. */
__u32 view_service_row(const struct view *view, __u32 row);
/* NULL when the row has no name. */
const struct sl_service_name *view_service_name(const struct view *view, __u32 row);

/* Whether `name`, "namespace/name" or "name", means the service of `row`; NULL means every one. */
bool view_service_matches(const struct view *view, __u32 row, const char *name);
/* Says on stderr when `name` means no service at all. CLI_OK or CLI_FAILED. */
int view_expect_service(const struct view *view, const char *name);

/* Every (service-port, replica), and every (service-port, VIP that takes new flows). The list is
 * the caller's to free. CLI_OK or CLI_FAILED. */
int view_replicas(const struct view *view, struct view_pairs *ret);
int view_vips(const struct view *view, struct view_pairs *ret);

/* The pairs of one service-port in a list: *ret_n of them. */
const struct view_pair *view_pairs_of(const struct view *view, const struct view_pairs *pairs,
				      __u32 service, size_t *ret_n);

/* CLOCK_MONOTONIC, as the maps use it. */
uint64_t view_now_ns(void);

/* A jiffies stamp of the maps as its age in ms; 0 for the future (the clock moves every 10 ms). */
uint64_t view_age_ms(const struct view *view, __u32 jiffies);

/* Cells that several commands show alike; the columns to declare stand beside them. */
#define VIEW_SERVICE_COLUMNS                                                                       \
	{"service", "SERVICE", OUT_STRING}, {"service_port", "PORT", OUT_STRING}
void view_put_service(const struct view *view, struct out *out, __u32 row);
void view_put_no_service(struct out *out);

/* "ADDRESS:PORT" as text, two keys in JSON. */
#define VIEW_ENDPOINT_COLUMNS(heading, address_key, port_key)                                      \
	{NULL, heading, OUT_STRING}, {address_key, NULL, OUT_STRING}, {port_key, NULL, OUT_UINT}
void view_put_endpoint(struct out *out, const union sl_addr *addr, __be16 port);
void view_put_no_endpoint(struct out *out);

/* Requests that the replica reported, null without a fresh report. */
void view_put_load(const struct view *view, struct out *out, const struct view_pair *pair,
		   uint64_t now_ns);

/* "TCP", "UDP", "?" */
const char *view_protocol(__u8 proto);
/* "ready", ... */
const char *view_state(enum sl_replica_state state);

#endif
