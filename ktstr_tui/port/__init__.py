"""What a guest's frame may do: the port, the dispatcher, the gates that bound a hostile guest, the statistics port."""
