# Stands in for the image nginx: the server, envsubst and curl.
FROM localhost/mlops-lab-tests/debian
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends curl gettext-base nginx-light >/dev/null \
    && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled/*
CMD ["nginx", "-g", "daemon off;"]
