# Stands in for mysql:8.4 with Debian's MariaDB; the entrypoint understands the variables of MySQL's image.
FROM localhost/mlops-lab-tests/debian
# The server without its Debian service: no account, no database made while installing.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends mariadb-client mariadb-server-core >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/lib/mysql/* \
    && mkdir -p /var/run/mysqld /var/lib/mysql /etc/mysql/conf.d \
    && chmod 1777 /var/run/mysqld /var/lib/mysql
# Below --read-only podman 4.3 mounts a /run of its own, in which /var/run/mysqld loses the write permission that it has here.
ENV MYSQL_SOCKET=/tmp/mysqld.sock
COPY db-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["/bin/sh", "/usr/local/bin/db-entrypoint.sh"]
CMD ["mysqld"]
