# Stands in for an image of MinIO with SeaweedFS. It has no admin API, so its second key is given to it: `seed` runs with MINIO_KEYS=existing.
FROM localhost/mlops-lab-tests/debian
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends curl >/dev/null \
    && rm -rf /var/lib/apt/lists/*
COPY weed minio mcli /usr/local/bin/
RUN chmod 755 /usr/local/bin/*
ENTRYPOINT ["minio"]
