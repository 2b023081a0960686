/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A struct maps of a test's own making: arrays on the heap, and real BPF maps
 * (unpinned) where the reader goes through a descriptor. Shared by the tests of
 * what is rendered from maps.
 */
#ifndef SLUICE_TEST_FAKE_MAPS_H
#define SLUICE_TEST_FAKE_MAPS_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdlib.h>
#include <unistd.h>

#include "addr.h"
#include "check.h"
#include "maps.h"

#define FAKE_NEEDS "needs the right to create BPF maps (root)"

struct fake_maps {
	struct maps maps;
	/* The same memory, writable. */
	struct sl_control control;
	struct sl_kernel kernel;
	struct sl_event_head head;
	struct sl_service *services;
	struct sl_replica *replicas;
	struct sl_replica_services *replica_services;
	struct sl_outlier *outliers;
	struct sl_service_state *service_states;
};

static inline void fake_maps_done(struct fake_maps *fake)
{
	free(fake->services);
	free(fake->replicas);
	free(fake->replica_services);
	free(fake->outliers);
	free(fake->service_states);
	close(fake->maps.drops_fd);
	close(fake->maps.counters_fd);
	close(fake->maps.first_bytes_fd);
	close(fake->maps.service_names_fd);
	close(fake->maps.replica_names_fd);
}

/* False where BPF maps cannot be created; nothing is left then. */
static inline bool fake_maps_init(struct fake_maps *fake, uint32_t n_services, uint32_t n_replicas)
{
	struct maps *maps = &fake->maps;

	memset(fake, 0, sizeof(*fake));
	maps->n_services = n_services;
	maps->n_replicas = n_replicas;
	maps->n_flow_sets = 128;
	maps->services = fake->services = calloc(n_services, sizeof(*fake->services));
	maps->replicas = fake->replicas = calloc(n_replicas, sizeof(*fake->replicas));
	maps->replica_services = fake->replica_services =
		calloc(n_replicas, sizeof(*fake->replica_services));
	maps->outliers = fake->outliers = calloc(n_replicas, sizeof(*fake->outliers));
	maps->service_states = fake->service_states =
		calloc(n_services, sizeof(*fake->service_states));
	maps->control = &fake->control;
	maps->kernel = &fake->kernel;
	maps->event_head = &fake->head;
	maps->drops_fd =
		bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "fake_drops", 4, 8, SL_DROP_MAX, NULL);
	maps->counters_fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "fake_counters", 4, 8,
					   SL_COUNT_MAX, NULL);
	maps->first_bytes_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "fake_first", 4,
					      sizeof(struct sl_first_byte), n_services, NULL);
	maps->service_names_fd = bpf_map_create(BPF_MAP_TYPE_HASH, "fake_services", 4,
						sizeof(struct sl_service_name), n_services, NULL);
	maps->replica_names_fd = bpf_map_create(BPF_MAP_TYPE_HASH, "fake_replicas", 4,
						sizeof(struct sl_replica_name), n_replicas, NULL);
	if (maps->drops_fd >= 0 && maps->counters_fd >= 0 && maps->first_bytes_fd >= 0 &&
	    maps->service_names_fd >= 0 &&
	    maps->replica_names_fd >= 0)
		return true;
	fake_maps_done(fake);
	return false;
}

static inline void fake_service(struct fake_maps *fake, uint32_t row, const char *name,
				const char *port_name, uint16_t port, uint32_t flags)
{
	struct sl_service_name value = {.port = htons(port), .proto = IPPROTO_TCP};

	snprintf(value.service, sizeof(value.service), "%s", name);
	snprintf(value.port_name, sizeof(value.port_name), "%s", port_name);
	CHECK_INT(bpf_map_update_elem(fake->maps.service_names_fd, &row, &value, BPF_ANY), 0);
	fake->services[row].flags = SL_SERVICE_USED | flags;
}

/* Behind `service` and, where it is not negative, `also`. */
static inline void fake_replica(struct fake_maps *fake, uint32_t row, const char *addr_port,
				const char *pod, int service, int also)
{
	struct sl_replica_config *config = &fake->replicas[row].config;
	struct sl_replica_services *services = &fake->replica_services[row];
	struct sl_replica_name value = {0};

	CHECK_INT(addr_parse_port(addr_port, &config->addr, &config->port), 0);
	config->proto = IPPROTO_TCP;
	config->weight = 100;
	config->flags = SL_REPLICA_USED;
	services->service[services->n++] = service;
	if (also >= 0)
		services->service[services->n++] = also;
	if (!pod)
		return;
	snprintf(value.pod, sizeof(value.pod), "%s", pod);
	CHECK_INT(bpf_map_update_elem(fake->maps.replica_names_fd, &row, &value, BPF_ANY), 0);
}

/* Adds `each` on every CPU that there may be; returns the sum. */
static inline uint64_t fake_count(int fd, uint32_t row, uint64_t each)
{
	int n = libbpf_num_possible_cpus();
	uint64_t values[n];

	for (int i = 0; i < n; i++)
		values[i] = each;
	CHECK_INT(bpf_map_update_elem(fd, &row, values, BPF_ANY), 0);
	return n * each;
}

#endif
