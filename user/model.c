// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a desired state: frees what policy built. A model is plain data;
 * policy_compile() makes it, reconcile and probe read it.
 */
#include "model.h"

#include <stdlib.h>

static void probe_done(struct model_probe *probe)
{
	for (size_t i = 0; i < probe->n_headers; i++) {
		free(probe->headers[i].name);
		free(probe->headers[i].value);
	}
	free(probe->headers);
	free(probe->path);
	free(probe->host);
	free(probe->grpc_service);
}

void model_replica_done(struct model_replica *replica)
{
	probe_done(&replica->probe);
	free(replica->pod);
	free(replica->pod_uid);
	free(replica->node);
	free(replica->zone);
}

void model_service_done(struct model_service *service)
{
	for (size_t i = 0; i < service->n_replicas; i++)
		model_replica_done(&service->replicas[i]);
	free(service->replicas);
	free(service->vips);
	free(service->name);
	free(service->port_name);
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->n_services; i++)
		model_service_done(&model->services[i]);
	free(model->services);
	free(model);
}
